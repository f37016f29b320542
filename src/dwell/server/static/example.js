// Renews the strip "learning from you" while one looks, and sends its forms without leaving the page. Without it the
// strip is as it was when the page was made, and the forms lead back to the search.
(() => {
  'use strict'
  const EVERY_MS = 2000
  const strip = document.querySelector('#lesson')
  if (!strip) return
  let tag = '', isAsking = false

  const renew = text => {
    const made = document.createElement('template')
    made.innerHTML = text
    for (const part of made.content.querySelectorAll('[data-part]')) {
      const there = strip.querySelector(`[data-part="${part.dataset.part}"]`)
      if (there && there.innerHTML !== part.innerHTML) replace(there, part.innerHTML)
    }
  }

  // whoever has the focus on a button keeps it, where the button is still there
  const replace = (there, html) => {
    const focused = there.contains(document.activeElement) ? document.activeElement.textContent : null
    there.innerHTML = html
    if (focused === null) return
    const same = [...there.querySelectorAll('a, button')].find(one => one.textContent === focused)
    if (same) same.focus()
  }

  const ask = async () => {
    if (isAsking || document.hidden) return
    isAsking = true
    try {
      const answer = await fetch(strip.dataset.from, { headers: tag ? { 'If-None-Match': tag } : {}, cache: 'no-store' })
      if (answer.status === 200) {
        tag = answer.headers.get('ETag') || ''
        renew(await answer.text())
      }
    } catch { /* the service may be gone for a moment: asked again soon */ }
    isAsking = false
  }

  document.addEventListener('submit', async event => {
    const form = event.target
    if (!form.dataset.quiet) return
    event.preventDefault()
    const button = form.querySelector('button'), words = button.textContent
    button.disabled = true
    button.textContent = form.dataset.quiet
    try {
      await fetch(form.action, { method: 'POST', body: new URLSearchParams(new FormData(form)), redirect: 'manual' })
    } catch { /* as above */ }
    button.disabled = false
    button.textContent = words
    button.focus()
    await ask()
  })

  setInterval(ask, EVERY_MS)
  document.addEventListener('visibilitychange', ask)
})()
