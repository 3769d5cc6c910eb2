package doctor

import (
	"embed"
	"fmt"
)

// pages has a page in Markdown for each check.
//
//go:embed pages/D*.md
var pages embed.FS

// Page returns the page of a check in Markdown.
func Page(id string) (string, error) {
	c, err := ByID(id)
	if err != nil {
		return "", err
	}
	text, err := pages.ReadFile("pages/" + id + ".md")
	if err != nil {
		return "", fmt.Errorf("read page of %s: %w", id, err)
	}
	return "# " + c.ID + ": " + c.Title + "\n\n" + string(text), nil
}
