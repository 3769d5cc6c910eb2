package migrate

import (
	"regexp"
	"slices"
	"strings"
)

// What a script or command does is read here only to find those that do nothing but prepare
// kube-vip's manifest: whatever is not known to do only that, stays.

var (
	keyword  = regexp.MustCompile(`^(?:if|then|elif|else|do|!|\{|\(|function \w+|\w+\(\))(?:\s+|$)`)
	harmless = regexp.MustCompile(`^(?:fi|done|\}|\)|(?:exit|return)(?: 0)?|set [-+]\w+( pipefail)?|\[.*|test .*|grep -q.*|sleep [0-9]+|for arg in "\$@"|"\$\{arg//-/_\}"|echo ["']127\.0\.0\.1\s+kubernetes["'])?$`)
	assigns  = regexp.MustCompile(`^(?:export |readonly |declare -r |local )?[A-Za-z_]\w*=(.*)$`)
	// nowhere is output that is discarded. toHosts is where the name kubernetes was written.
	nowhere = regexp.MustCompile(`\s*(?:[12&]?>\s*/dev/null|2>&1)`)
	toHosts = regexp.MustCompile(`^(echo .*?)\s*>>\s*/etc/hosts$`)
	// reads are the programs that may run in $( ) and change nothing there.
	reads = regexp.MustCompile(`^(?:kubeadm version|printf|echo|cat|cut|sort|head|tail|tr|grep|uname|hostname)(?:\s|$)`)
	sed   = regexp.MustCompile(`^sed\s+(?:(?:-[iErs]+|--in-place|-e)\s+)+(?:'([^']*)'|"([^"]*)"|([^\s'"]+))\s+["']?(/[\w./-]+)["']?$`)
	admin = regexp.MustCompile(`^[\w /:^-]*(?:super-)?admin\\?\.conf\$?$`)
)

// onlyPrepares tells whether a script only gives super-admin.conf to kube-vip's manifest or takes
// it away again, or only runs such scripts.
func onlyPrepares(script string, scripts []string) bool {
	found := false
	for _, s := range statements(strings.ReplaceAll(expanded(script), "\\\n", " ")) {
		for keyword.MatchString(s) {
			s = strings.TrimSpace(keyword.ReplaceAllString(s, ""))
		}
		if at := toHosts.FindStringSubmatch(s); at != nil {
			s = at[1]
		}
		s = nowhere.ReplaceAllString(s, "")
		switch {
		case strings.ContainsAny(s, ">`") || !changesNothing(s):
			return false
		case harmless.MatchString(s), isAssignment(s):
		case swapsAdmin(s), setsAdmin(s) && kubeVipName.MatchString(s), runs(s, scripts):
			found = true
		default:
			return false
		}
	}
	return found
}

// isAssignment tells whether a statement gives a variable one word, and does nothing else.
func isAssignment(statement string) bool {
	m := assigns.FindStringSubmatch(statement)
	if m == nil {
		return false
	}
	word := strings.TrimPrefix(m[1], "$'")
	if word != m[1] {
		word = "'" + word
	}
	return !strings.ContainsAny(word, " \t\"'(") || token(word) == word
}

// statements splits a script at line breaks, ;, & and |, except in quotes and in $( ), and omits
// comments.
func statements(script string) (out []string) {
	start := 0
	end := func(i int) {
		out = append(out, strings.TrimSpace(script[start:i]))
		start = i + 1
	}
	for i := 0; i < len(script); {
		switch c := script[i]; {
		case c == '#' && strings.TrimSpace(script[start:i]) == "":
			i += len(script[i:]) - len(strings.TrimLeft(script[i:], "#"))
			if n := strings.IndexByte(script[i:], '\n'); n >= 0 {
				i += n
			} else {
				i = len(script)
			}
			start = i
		case strings.IndexByte("\n;|", c) >= 0 || c == '&' && (i == 0 || script[i-1] != '>') && !strings.HasPrefix(script[i:], "&>"):
			end(i)
			i++
		default:
			i += len(token(script[i:]))
		}
	}
	end(len(script))
	return out
}

// token returns a quoted string or $( ) at the beginning of s, as far as it goes, or one byte.
func token(s string) string {
	switch {
	case s[0] == '\\' && len(s) > 1:
		return s[:2]
	case s[0] == '\'':
		if n := strings.IndexByte(s[1:], '\''); n >= 0 {
			return s[:n+2]
		}
		return s
	case s[0] == '"':
		for i := 1; i < len(s); {
			switch {
			case s[i] == '"':
				return s[:i+1]
			case s[i] == '\\' || strings.HasPrefix(s[i:], "$("):
				i += len(token(s[i:]))
			default:
				i++
			}
		}
		return s
	case strings.HasPrefix(s, "$("):
		for i := 2; i < len(s); {
			if s[i] == ')' {
				return s[:i+1]
			}
			i += len(token(s[i:]))
		}
		return s
	}
	return s[:1]
}

// changesNothing tells whether what a statement runs in $( ) only reads.
func changesNothing(s string) bool {
	for at := strings.Index(s, "$("); at >= 0; at = strings.Index(s, "$(") {
		inside := token(s[at:])
		s = s[at+len(inside):]
		for _, program := range statements(strings.TrimSuffix(inside[2:], ")")) {
			if !reads.MatchString(program) || !changesNothing(program) {
				return false
			}
		}
	}
	return true
}

// swapsAdmin tells whether a statement puts one admin.conf in the place of another in kube-vip's
// manifest, and changes nothing else.
func swapsAdmin(statement string) bool {
	m := sed.FindStringSubmatch(statement)
	if m == nil || !kubeVipName.MatchString(m[4]) {
		return false
	}
	expression := strings.ReplaceAll(m[1]+m[2]+m[3], `\/`, "\uffff")
	if len(expression) < 2 || expression[0] != 's' {
		return false
	}
	parts := strings.Split(expression, expression[1:2])
	for i := range parts {
		parts[i] = strings.ReplaceAll(parts[i], "\uffff", "/")
	}
	return len(parts) == 4 && admin.MatchString(parts[1]) && admin.MatchString(parts[2]) && (parts[3] == "" || parts[3] == "g")
}

// byYq is an expression of yq that gives one field the path of admin.conf, and does nothing else.
// bySelection tells that the field is that of what has the path, or of the volume by its name.
var (
	byYq        = regexp.MustCompile(`^[^=|]*(?:\|[^=|]*|==\s*"[^"]*"[^=|]*)*\|?=\s*"(?:[\w/.-]*/)?(?:super-)?admin\.conf"$`)
	bySelection = regexp.MustCompile(`select\([^)]*==\s*"(?:kubeconfig|[^"]*admin\.conf)"\)`)
)

// setsAdmin tells whether a statement puts one admin.conf in the place of another by yq or perl, and
// changes nothing else.
func setsAdmin(statement string) bool {
	words := shellWords(statement)
	if len(words) < 4 {
		return false
	}
	script := slices.IndexFunc(words, func(w string) bool { return strings.Contains(w, "admin.conf") })
	if script < 0 || script != len(words)-2 {
		return false
	}
	options := strings.Join(words[1:script], " ")
	switch words[0] {
	case "yq":
		return slices.Contains([]string{"-i", "e -i", "eval -i", "-i e", "-y -i", "-yi", "--inplace"}, options) && byYq.MatchString(words[script])
	case "perl":
		return slices.Contains([]string{"-pi -e", "-p -i -e", "-i -pe", "-i -p -e"}, options) && swapsAdmin("sed -i '"+words[script]+"' /kube-vip.yaml")
	}
	return false
}

// setsAdminBySelection tells whether such a statement changes nothing in vipd's manifest.
func setsAdminBySelection(statement string) bool {
	return setsAdmin(statement) && (strings.HasPrefix(statement, "perl") || bySelection.MatchString(statement))
}

// runs tells whether a statement runs one of the scripts, or makes it executable.
func runs(statement string, scripts []string) bool {
	words := strings.Fields(statement)
	for len(words) > 0 && slices.Contains([]string{"/bin/bash", "bash", "/bin/sh", "sh", "sudo", "chmod", "+x", "0700", "0755", "700", "755"}, words[0]) {
		words = words[1:]
	}
	return len(words) > 0 && slices.Contains(scripts, words[0])
}
