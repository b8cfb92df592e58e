// Browsers refuse workers to a page that is opened from a disk; the search is one. There the script of a worker runs in a
// hidden frame of the page instead. The theme looks for a script of this name, and would fetch one from elsewhere.
if (location.protocol === "file:") {
  window.IFrameWorker = window.Worker = class extends EventTarget {
    constructor(url) {
      super()
      const frame = document.createElement("iframe")
      frame.hidden = true
      document.body.appendChild(frame)
      const inside = frame.contentWindow
      inside.document.open()
      inside.document.write("<!doctype html><body></body>")
      inside.document.close()
      inside.postMessage = data => this.dispatchEvent(new MessageEvent("message", { data }))
      inside.importScripts = (...urls) => Promise.all(urls.map(each => load(inside, each)))
      this.inside = load(inside, url).then(() => inside)
      this.terminate = () => frame.remove()
    }

    postMessage(data) {
      this.inside.then(inside => inside.dispatchEvent(new inside.MessageEvent("message", { data })))
    }
  }
}

function load(inside, url) {
  return new Promise((loaded, failed) => {
    const script = inside.document.createElement("script")
    script.src = url
    script.onload = loaded
    script.onerror = failed
    inside.document.body.appendChild(script)
  })
}
