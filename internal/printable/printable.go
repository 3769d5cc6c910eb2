// Package printable makes text from outside safe to print.
package printable

import (
	"strconv"
	"strings"
)

// String replaces unprintable characters, which a terminal might interpret, by Go escapes such as
// \x1b.
func String(s string) string {
	var b strings.Builder
	for _, r := range s {
		if strconv.IsPrint(r) {
			b.WriteRune(r)
		} else {
			b.WriteString(strings.Trim(strconv.QuoteRune(r), "'"))
		}
	}
	return b.String()
}
