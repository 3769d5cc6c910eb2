package status

import "net/http"

// page is for people with a browser.
func (s *Server) page(w http.ResponseWriter, _ *http.Request) {
	http.Error(w, "not there yet", http.StatusNotImplemented)
}
