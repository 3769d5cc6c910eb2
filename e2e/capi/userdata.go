package capi

import (
	"cmp"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"path"
	"regexp"
	"strings"

	"sigs.k8s.io/yaml"
)

// UserData is the part of cloud-init's user data that Cluster API uses at the first boot of a node.
type UserData struct {
	WriteFiles []File   `json:"write_files"`
	RunCmd     []string `json:"runcmd"`
}

// A File is a file in the user data.
type File struct {
	Path        string `json:"path"`
	Owner       string `json:"owner"`
	Permissions string `json:"permissions"`
	Encoding    string `json:"encoding"`
	Append      bool   `json:"append"`
	Content     string `json:"content"`
}

// header is the beginning of Cluster API's user data: cloud-init renders the data as a template
// before it reads the data.
const header = "## template: jinja\n#cloud-config\n"

// jinja matches the template language Jinja.
var jinja = regexp.MustCompile(`\{\{|\{%|\{#`)

// ParseUserData reads the user data for a node, with the values that its template requests by `{{
// NAME }}`. Any other expression of Jinja is an error.
func ParseUserData(text string, values map[string]string) (*UserData, error) {
	body, ok := strings.CutPrefix(text, header)
	if !ok {
		return nil, fmt.Errorf("read user data: it does not begin with %q", header)
	}
	for name, value := range values {
		body = strings.ReplaceAll(body, "{{ "+name+" }}", value)
	}
	if at := jinja.FindStringIndex(body); at != nil {
		return nil, fmt.Errorf("read user data: unknown to Jinja: %.60q", body[at[0]:])
	}
	var u UserData
	if err := yaml.Unmarshal([]byte(body), &u); err != nil {
		return nil, fmt.Errorf("read user data: %w", err)
	}
	return &u, nil
}

// File returns the file for a path.
func (u *UserData) File(path string) (File, bool) {
	for _, f := range u.WriteFiles {
		if f.Path == path {
			return f, true
		}
	}
	return File{}, false
}

// A Node runs commands and returns their output.
type Node interface {
	Run(ctx context.Context, argv ...string) (string, error)
}

// success is the file that Cluster API's command writes when kubeadm has succeeded.
const success = "/run/cluster-api/bootstrap-success.complete"

// output is where cloud-init writes what the commands print.

// output is where cloud-init writes what the commands print.
const output = "/var/log/cloud-init-output.log"

// stages is a script around the commands: what cloud-init records of its last stage, in the fields that
// its readers use, and where it writes the output of the commands.
const stages = `mkdir -p /run/cloud-init
stage() { printf '{"v1": {"stage": %s, "modules-final": {"start": %s, "finished": %s}}}' "$1" "$begin" "$2" >/run/cloud-init/status.json; }
begin=$(date +%s)
stage '"modules-final"' null
sh -c "$1" >` + output + ` 2>&1
status=$?
stage null "$(date +%s)"
exit $status`

// Apply does on a node what cloud-init would do: it writes the files, then runs the commands as one
// script, which continues after a command that fails. It returns the output of the script. The
// error means that kubeadm did not succeed.
func (u *UserData) Apply(ctx context.Context, n Node) (string, error) {
	for _, f := range u.WriteFiles {
		if err := f.write(ctx, n); err != nil {
			return "", err
		}
	}
	_, err := n.Run(ctx, "sh", "-c", stages, "sh", strings.Join(u.RunCmd, "\n"))
	out, unread := n.Run(ctx, "cat", output)
	if unread != nil {
		return out, errors.Join(fmt.Errorf("apply user data: %w", unread), err)
	}
	if _, missing := n.Run(ctx, "test", "-e", success); missing != nil {
		return out, errors.Join(errors.New("apply user data: kubeadm did not succeed"), err)
	}
	return out, nil
}

// writeFile takes the path, the permissions, the owner, and the content in base64.
const writeFile = `set -e
mkdir -p "$(dirname "$1")"
printf %s "$4" | base64 -d >"$1"
chown "$3" "$1"
chmod "$2" "$1"`

func (f File) write(ctx context.Context, n Node) error {
	if f.Encoding != "" || f.Append || !path.IsAbs(f.Path) {
		return fmt.Errorf("write %s: cannot with encoding %q, append %t", f.Path, f.Encoding, f.Append)
	}
	_, err := n.Run(ctx, "sh", "-c", writeFile, "sh", f.Path, cmp.Or(f.Permissions, "0644"), cmp.Or(f.Owner, "root:root"), base64.StdEncoding.EncodeToString([]byte(f.Content)))
	if err != nil {
		return fmt.Errorf("write %s: %w", f.Path, err)
	}
	return nil
}
