// What the pages can not do by themselves: charts, and times told as "3 min ago". Without it all figures are still there.
(() => {
  'use strict'
  const AGO = [[86400, 'd'], [3600, 'h'], [60, 'min'], [1, 's']]
  const ago = seconds => {
    const [size, unit] = AGO.find(([size]) => Math.abs(seconds) >= size) || [1, 's']
    const n = Math.round(Math.abs(seconds) / size)
    return seconds >= 0 ? `${n} ${unit} ago` : `in ${n} ${unit}`
  }
  const tell = () => {
    for (const time of document.querySelectorAll('time[datetime]')) {
      const at = Date.parse(time.dateTime)
      if (!Number.isNaN(at)) time.title = ago((Date.now() - at) / 1000)
    }
  }

  const colour = (element, name) => getComputedStyle(element).getPropertyValue(name).trim()
  const LINES = ['--line-1', '--line-2', '--line-3', '--line-4', '--line-5', '--line-6']
  const MARKS = { promote: '--good', rollback: '--wait', forced: '--bad', start: '--quiet', now: '--quiet' }

  // Drawn into a shadow tree, so that a part of the page that is fetched anew leaves the drawing alone.
  class Chart extends HTMLElement {
    static observedAttributes = ['data-chart']

    connectedCallback() {
      if (!this.shadowRoot) {
        const root = this.attachShadow({ mode: 'open' })
        const sheet = document.createElement('link')
        sheet.rel = 'stylesheet'
        sheet.href = document.querySelector('link[href*="uplot.min.css"]').href
        this.place = document.createElement('div')
        this.place.setAttribute('aria-hidden', 'true')
        root.append(sheet, this.place)
        this.sizes = new ResizeObserver(() => this.fit())
        this.scheme = matchMedia('(prefers-color-scheme: dark)')
        this.anew = () => this.draw()
      }
      this.sizes.observe(this)
      this.scheme.addEventListener('change', this.anew)
      this.draw()
    }

    disconnectedCallback() {
      this.sizes.disconnect()
      this.scheme.removeEventListener('change', this.anew)
    }

    attributeChangedCallback(name, before, after) {
      if (before !== null && before !== after && this.place) this.draw()
    }

    fit() {
      if (this.plot && this.clientWidth !== this.plot.width) this.plot.setSize({ width: this.clientWidth, height: this.height() })
    }

    height() {
      return this.clientWidth < 500 ? 180 : 240
    }

    draw() {
      const chart = JSON.parse(this.dataset.chart)
      const data = [chart.x, ...chart.lines.map(line => line.values)]
      const shape = JSON.stringify([chart.lines.map(line => [line.name, line.is_stepped]), chart.marks, chart.isTime])
      if (this.plot && this.shape === shape && this.dark === this.scheme.matches) {
        this.plot.setData(data)
        return
      }
      if (this.plot) this.plot.destroy()
      this.shape = shape
      this.dark = this.scheme.matches
      this.plot = new uPlot(this.options(chart), data, this.place)
    }

    options(chart) {
      const axis = { stroke: colour(this, '--quiet'), grid: { stroke: colour(this, '--rule'), width: 1 }, ticks: { stroke: colour(this, '--rule') } }
      return {
        width: this.clientWidth || 300,
        height: this.height(),
        tzDate: seconds => uPlot.tzDate(new Date(seconds * 1000), 'UTC'),
        cursor: { drag: { x: false, y: false } },
        scales: { x: { time: chart.isTime } },
        axes: [axis, { ...axis, size: 60 }],
        series: [{}, ...chart.lines.map((line, i) => ({
          label: line.name,
          stroke: colour(this, LINES[i % LINES.length]),
          width: 2,
          dash: i >= LINES.length ? [6, 4] : undefined,
          spanGaps: true,
          points: { show: chart.x.length < 40 },
          paths: line.is_stepped ? uPlot.paths.stepped({ align: 1 }) : undefined
        }))],
        hooks: { draw: [plot => this.mark(plot, chart.marks)] }
      }
    }

    mark(plot, marks) {
      const { ctx, bbox } = plot
      const named = []
      ctx.save()
      for (const mark of marks) {
        const x = Math.round(plot.valToPos(mark.x, 'x', true))
        if (x < bbox.left || x > bbox.left + bbox.width) continue
        ctx.strokeStyle = ctx.fillStyle = colour(this, MARKS[mark.kind])
        ctx.lineWidth = devicePixelRatio
        ctx.setLineDash(mark.kind === 'promote' ? [] : [4, 4])
        ctx.beginPath()
        ctx.moveTo(x, bbox.top)
        ctx.lineTo(x, bbox.top + bbox.height)
        ctx.stroke()
        ctx.textAlign = 'left'
        ctx.textBaseline = 'alphabetic'
        ctx.font = `${11 * devicePixelRatio}px system-ui, sans-serif`
        // beside its line, on the side where there is room, below the name of a mark that it would cover
        const wide = ctx.measureText(mark.name).width + 6 * devicePixelRatio
        const left = x + wide > bbox.left + bbox.width ? x - wide : x
        let row = 0
        while (named.some(one => one.row === row && left < one.right && one.left < left + wide)) row += 1
        named.push({ row, left, right: left + wide })
        ctx.fillText(mark.name, left + 3 * devicePixelRatio, bbox.top + (11 + 13 * row) * devicePixelRatio)
      }
      ctx.restore()
    }
  }

  // What somebody opened stays open when the part around it is fetched anew.
  Idiomorph.defaults.callbacks.beforeAttributeUpdated = (name, node) => !(name === 'open' && node.tagName === 'DETAILS')

  customElements.define('dwell-chart', Chart)
  tell()
  setInterval(tell, 15000)
  document.addEventListener('htmx:afterSettle', tell)
  // Nobody looks at a page in the background: it asks again once somebody does.
  document.addEventListener('htmx:beforeRequest', event => {
    if (document.hidden && event.detail.requestConfig.triggeringEvent === undefined) event.preventDefault()
  })
})()
