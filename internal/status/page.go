package status

import (
	"bytes"
	"crypto/sha256"
	_ "embed" // for the three parts of the page
	"encoding/base64"
	"fmt"
	"html/template"
	"net/http"
)

// The page is one document without other resources: people read a node's status when the network is
// in trouble. Style and script are separate files for the editors, and because html/template
// removes comments from inline text, whose hashes the policy names.
var (
	//go:embed page.html
	pageHTML string
	//go:embed page.css
	pageCSS string
	//go:embed page.js
	pageJS string

	pageTemplate = template.Must(template.New("page").Funcs(template.FuncMap{
		"style":  func() template.CSS { return template.CSS(pageCSS) },
		"script": func() template.JS { return template.JS(pageJS) },
	}).Parse(pageHTML))

	// pagePolicy permits the resources in the page and requests to this server only. The icon is in
	// the page, too: without an icon, browsers request /favicon.ico.
	pagePolicy = "default-src 'none'; script-src " + hash(pageJS) + "; style-src " + hash(pageCSS) +
		"; img-src data:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)

// hash returns the hash of an inline script or style for a Content-Security-Policy (CSP Level 3,
// section 2.3.1).
func hash(source string) string {
	sum := sha256.Sum256([]byte(source))
	return "'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'"
}

// page answers with the page for browsers.
func page(w http.ResponseWriter, _ *http.Request, b *Board) {
	var body bytes.Buffer
	if err := pageTemplate.Execute(&body, pageView{viewOf(b)}); err != nil {
		http.Error(w, fmt.Sprintf("show the page: %v; /status and /history have the same", err), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("Content-Security-Policy", pagePolicy)
	w.Header().Set("Referrer-Policy", "no-referrer")
	_, _ = w.Write(body.Bytes())
}
