// dwell.js: tells `dwell serve` what visitors do with a list of results. How to use it: docs/page.md of dwell.
// No dependency, cookie, storage or eval. Whatever happens in here, the page never hears of it.
(() => {
  'use strict'
  const script = document.currentScript
  if (window.dwell && window.dwell.start) return // loaded twice

  const defaults = {
    waitS: 2, // a batch is sent after so long,
    batch: 20, // or as soon as it holds so many items
    reformulatedS: 60, // another search so soon after a list, without a click on it: the list failed
    bounceS: 10, // back from a document sooner than this: a bounce; 0 sends none
  }
  const MAX_QUEUE = 500 // items kept while the server can not be reached; what comes then is dropped and counted
  const MAX_BATCH = 40 // browsers let 64 KB leave with a page
  const MAX_TRIES = 6
  const SEEN_MS = 1000 // viewable (MRC): half of it, for one second
  const LEFT_MS = 10000 // who leaves the page later than this after a click did not leave for that document
  const stats = { sent: 0, dropped: 0, errors: 0 }
  // names this page's items, so that one that is sent twice counts once; crypto.randomUUID wants https
  const page = Array.from(crypto.getRandomValues(new Uint32Array(4)), n => n.toString(36)).join('')

  let settings, observer, timer, isBusy, isHurried, pending, leftAt, asked, shown = {}
  let queue = [], size = MAX_BATCH, tries = 0, serial = 0
  const done = new Set(), waiting = new Map()

  const guard = f => (...args) => {
    try { return f(...args) } catch { stats.errors++ }
  }
  const listen = (target, names, f) => names.split(' ').forEach(name => target.addEventListener(name, guard(f), true))
  const first = () => document.querySelector('[data-dwell-event]')
  const isVisible = () => document.visibilityState === 'visible'

  // ---- what it is about

  const listOf = element => {
    const { dwellEvent, dwellToken } = ((element && element.closest('[data-dwell-event]')) || {}).dataset || {}
    return dwellEvent ? { id: dwellEvent, token: dwellToken } : { id: settings.eventId, token: settings.token }
  }
  const docOf = element => (element.closest('[data-dwell-doc]') || { dataset: {} }).dataset.dwellDoc
  const once = (...key) => {
    const name = JSON.stringify(key), isNew = !done.has(name)
    if (done.size > 5000) done.clear()
    done.add(name)
    return isNew
  }

  // ---- sending: an item stays in the queue until the server has it

  const push = (signal, list, doc, value = 1) => {
    if (!settings || !list.id || !Number.isFinite(value)) return // one null would cost the whole batch
    if (queue.length >= MAX_QUEUE) return void stats.dropped++
    queue.push({
      event_id: list.id, signal, doc, value, at: Date.now() / 1000,
      idempotency_key: `${page}.${serial++}`, token: list.token || undefined,
    })
    if (queue.length >= settings.batch && !tries) send()
    else later(settings.waitS * 1000)
  }
  const later = ms => { timer = timer || setTimeout(guard(send), ms) }
  const remove = batch => { queue = queue.filter(item => !batch.includes(item)) }
  const body = items => JSON.stringify({ key: settings.key || undefined, user: settings.user || undefined, items })

  const send = isUrgent => {
    clearTimeout(timer)
    timer = 0
    if (!settings || !queue.length || (isBusy && !isUrgent)) return
    const batch = queue.slice(0, size)
    isBusy = true
    fetch(settings.endpoint, { // a string goes as text/plain, which needs no preflight
      method: 'POST', body: body(batch), keepalive: !!isUrgent, credentials: 'omit',
      signal: AbortSignal.timeout && AbortSignal.timeout(10000),
    }).then(answer => settle(batch, answer.status, +answer.headers.get('Retry-After')), () => settle(batch))
  }
  const settle = guard((batch, status, waitS) => {
    isBusy = false
    const isSent = status >= 200 && status < 300
    clearTimeout(timer)
    timer = 0
    if (!isSent && (!status || status === 408 || status === 429 || status > 499) && ++tries < MAX_TRIES) {
      // full jitter: pages that failed together do not come back together
      return later(1000 * Math.min(waitS || 0, 300) + Math.random() * 1000 * 2 ** tries)
    }
    tries = 0
    if (status === 400 && batch.length > 1) size = batch.length >> 1 // one bad item does not take the others along
    else {
      stats[isSent ? 'sent' : 'dropped'] += batch.length
      size = MAX_BATCH
      remove(batch)
    }
    isHurried = isHurried && queue.length // what a browser refused at once follows at once
    if (queue.length && settings) {
      later(size < MAX_BATCH || isHurried || queue.length >= settings.batch ? 0 : settings.waitS * 1000)
    }
  })
  // What is on its way by fetch goes once more: it may not arrive, and counts once.
  const hurry = () => {
    isHurried = true
    while (settings && queue.length) {
      const batch = queue.slice(0, MAX_BATCH)
      if (!navigator.sendBeacon || !navigator.sendBeacon(settings.endpoint, body(batch))) return send(true)
      stats.sent += batch.length
      remove(batch)
    }
  }

  // ---- seen: half of it, or half of the window where it is larger, for one second in a visible tab

  const forget = () => {
    waiting.forEach(id => clearTimeout(id))
    waiting.clear()
  }
  const look = entries => entries.forEach(({ target, intersectionRatio, intersectionRect }) => {
    if (isVisible() && (intersectionRatio >= 0.5 || intersectionRect.height >= innerHeight / 2)) {
      if (!waiting.has(target)) waiting.set(target, setTimeout(guard(saw), SEEN_MS, target))
    } else {
      clearTimeout(waiting.get(target))
      waiting.delete(target)
    }
  })
  const saw = element => {
    const list = listOf(element), doc = docOf(element)
    waiting.delete(element)
    if (doc && once('view', list.id, doc)) push('view', list, doc)
  }
  const scan = () => {
    const list = first()
    if (!settings || !observer) return
    if (list && shown.id !== listOf(list).id) shown = { id: listOf(list).id, at: Date.now() }
    document.querySelectorAll('[data-dwell-doc]').forEach(element => {
      observer.unobserve(element) // so that it is looked at anew
      observer.observe(element)
    })
  }

  // ---- clicks, votes, coming back, searching again

  const clicked = event => {
    const { target, type, button } = event
    const thumb = target.closest('[data-dwell-thumb]')
    if (!settings || (type === 'auxclick' && (thumb || button !== 1))) return
    const list = listOf(target), doc = docOf(target)
    if (thumb) return vote(thumb, list, doc)
    if (!doc || !target.closest('a[href],[data-dwell-click]')) return
    pending = { list, doc, at: Date.now() }
    once('clicked', list.id)
    if (once('click', list.id, doc)) push('click', list, doc)
  }
  const vote = (thumb, list, doc) => {
    const isTakenBack = thumb.getAttribute('aria-pressed') === 'true'
    for (const other of thumb.parentElement.querySelectorAll('[data-dwell-thumb]')) {
      other.setAttribute('aria-pressed', other === thumb && !isTakenBack)
    }
    push('thumbs', list, doc, isTakenBack ? 0 : thumb.dataset.dwellThumb === 'up' ? 1 : -1)
  }
  const left = () => {
    leftAt = leftAt || Date.now()
    forget()
    hurry()
  }
  const returned = () => {
    if (!isVisible()) return
    const { list, doc, at } = pending || {}, awayS = (Date.now() - leftAt) / 1000
    if (doc && leftAt - at < LEFT_MS && awayS >= 0 && awayS <= 86400) {
      push('dwell', list, doc, awayS)
      if (awayS < settings.bounceS) push('bounce', list, doc)
    }
    pending = leftAt = 0
    scan()
  }
  const plain = text => text.trim().toLowerCase()
  const submitted = ({ target }) => {
    const input = target.querySelector('[data-dwell-search]'), list = listOf(first())
    if (!input || !settings) return
    const text = plain(input.value), before = asked || plain(input.defaultValue)
    asked = text
    if (!text || !before || text === before || Date.now() - shown.at > settings.reformulatedS * 1000) return
    // neither a click on it nor told before
    if (list.id === shown.id && once('clicked', list.id)) push('reformulated', list)
  }

  // ---- the outside

  const start = guard(options => {
    const merged = { ...defaults, ...settings, ...options }
    if (!merged.endpoint) return console.warn('dwell: no endpoint, nothing is sent')
    settings = merged
    scan()
  })
  // A signal of the site's own: dwell.track('bookmark', { doc: 'kb-12' }).
  const track = guard((signal, about = {}) => {
    const { doc, value, eventId, token } = about
    if (settings) push(signal, eventId ? { id: eventId, token } : listOf(first()), doc, value)
  })
  const stop = () => {
    settings = null
    queue = []
    forget()
  }
  window.dwell = { start, track, flush: guard(hurry), stop, stats }

  guard(() => {
    listen(window, 'click auxclick', clicked) // before any handler of the page, which may stop it
    listen(window, 'submit', submitted)
    listen(document, 'visibilitychange', () => isVisible() ? returned() : left())
    listen(window, 'pagehide', left)
    listen(window, 'pageshow', returned)
    // steps for what is taller than the window, which never shows half of itself
    observer = new IntersectionObserver(guard(look), { threshold: [0, 0.1, 0.2, 0.3, 0.4, 0.5] })
    let isDue
    new MutationObserver(guard(records => {
      if (records.some(record => record.attributeName)) forget() // a second begun for another list is none for this one
      isDue = isDue || setTimeout(guard(() => { isDue = 0; scan() }), 100)
    })).observe(document, {
      subtree: true, childList: true, attributes: true, attributeFilter: ['data-dwell-event', 'data-dwell-doc'],
    })
    customElements.define('dwell-thumbs', class extends HTMLElement {
      connectedCallback() {
        if (this.firstChild) return
        this.setAttribute('role', 'group')
        for (const [way, mark, label] of [['up', '\u25B2', 'Helpful'], ['down', '\u25BC', 'Not helpful']]) {
          const button = document.createElement('button')
          button.type = 'button'
          button.dataset.dwellThumb = way
          button.textContent = mark
          button.setAttribute('aria-label', this.dataset[way] || label)
          button.setAttribute('aria-pressed', false)
          this.append(button)
        }
      }
    })
  })()

  // <script src=".../dwell.js" data-key="..."> starts by itself and posts to the server that it came from
  if (script && ('key' in script.dataset || 'endpoint' in script.dataset)) {
    start({ endpoint: new URL('v1/feedback', script.src).href, ...script.dataset })
  }
})()
