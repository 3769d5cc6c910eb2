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

// The page is one document without any other resource: a node's status is looked at
// when the network is in trouble. Style and script are files of their own, so that
// editors know them, and because html/template would take the comments out of text of
// its own: the policy names their hashes.
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

	// pagePolicy lets the browser run and show what is in the page, and ask this
	// server, and nothing else. The icon is in the page, too; without that one
	// browsers ask for /favicon.ico.
	pagePolicy = "default-src 'none'; script-src " + hash(pageJS) + "; style-src " + hash(pageCSS) +
		"; img-src data:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)

// hash names an inline script or style in a Content-Security-Policy (CSP Level 3,
// section 2.3.1).
func hash(source string) string {
	sum := sha256.Sum256([]byte(source))
	return "'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'"
}

// page is for people with a browser.
func (s *Server) page(w http.ResponseWriter, _ *http.Request) {
	var body bytes.Buffer
	if err := pageTemplate.Execute(&body, sheet{s.view()}); err != nil {
		http.Error(w, fmt.Sprintf("show the page: %v; /status and /history have the same", err), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("Content-Security-Policy", pagePolicy)
	w.Header().Set("Referrer-Policy", "no-referrer")
	_, _ = w.Write(body.Bytes())
}
