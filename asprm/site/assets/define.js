if (!customElements.get("asprm-view")) {
  customElements.define("asprm-view", class extends HTMLElement {
    connectedCallback() {
      if (this.begun) return;
      this.begun = true;
      const data = JSON.parse(this.querySelector("script").textContent);
      views[this.getAttribute("kind")](this, data);
    }
  });
}
