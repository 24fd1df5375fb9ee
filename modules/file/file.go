// Package file is the backend that follows a file.
package file

import (
	"context"
	"fmt"
	"net/http"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/seed-4dedbcea/caddy-sse/backend"
	"github.com/seed-4dedbcea/caddy-sse/internal/caddykit/argument"
	"github.com/seed-4dedbcea/caddy-sse/internal/caddykit/directive"
	"github.com/seed-4dedbcea/caddy-sse/internal/core/mapping"
	"github.com/seed-4dedbcea/caddy-sse/modules/file/internal/follow"
)

func init() {
	caddy.RegisterModule(new(Backend))
}

// Backend follows a file, such as a log, through rotation and truncation. If the file does not exist yet, it waits for it. Event ids
// hold the file's identity and the offset. So a client resumes exactly where it was, even after a restart of the server, or if the
// file has been rotated since. If the path has values from a request, rotated files are not used: a file with such a name may be
// another client's.
//
// Only this server can make these ids: they carry a digest, and its key is in Caddy's storage. A client without such an id starts
// where from says. But from end does not keep older lines secret: with an id, even one that another client received, a client gets
// everything after it in the file or in a rotated one.
type Backend struct {
	// The file's path. It can have placeholders. If values from a request lead outside of the folder in which the first of them
	// stands, the response is a 404.
	Path string `json:"path"`

	// Where a new client starts: start, end or last. Default: end.
	From string `json:"from,omitempty"`

	// The number of lines that a new client gets first, if from is last.
	Last int `json:"last,omitempty"`

	fixed *mapping.Template // the path before the first placeholder from a request; nil without one
	path  *mapping.Template // the rest
	from  follow.Start
	key   follow.Key // signs the ids
}

// The values of Backend.From.
const (
	fromStart = "start"
	fromEnd   = "end"
	fromLast  = "last"
)

// CaddyModule returns the Caddy module information.
func (*Backend) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: backend.Namespace + ".file", New: func() caddy.Module { return new(Backend) }}
}

// Provision compiles the options.
func (b *Backend) Provision(ctx caddy.Context) error {
	directive.SetDefault(&b.From, fromEnd)
	b.key = fileKey.get(ctx)
	if err := b.Compile(); err != nil {
		return fmt.Errorf("file: %w", err)
	}
	return nil
}

// Compile checks and compiles the options. A Caddyfile is parsed with it, so that its errors name the file and the line.
func (b *Backend) Compile() error {
	switch b.From {
	case fromStart:
		b.from = follow.FromStart
	case fromEnd, "":
		b.from = follow.FromEnd
	case fromLast:
		b.from = follow.Last(b.Last)
	default:
		return fmt.Errorf("from must be %s, %s or %s, not %q", fromStart, fromEnd, fromLast, b.From)
	}
	if (b.From == fromLast) != (b.Last != 0) || b.Last < 0 {
		return fmt.Errorf("last must be a number of lines above zero if from is %s, and not be there otherwise", fromLast)
	}
	return b.compilePath()
}

// compilePath splits the path into its fixed beginning and the rest, which has values from a request.
func (b *Backend) compilePath() (err error) {
	if b.path, err = mapping.ParseTemplate(b.Path); err != nil {
		return err
	}
	if b.Path == "" || b.path.UsesRecord() {
		return fmt.Errorf("%q is not a path: a record has no say in it", b.Path)
	}
	names := b.path.Placeholders()
	first := slices.IndexFunc(names, func(name string) bool { return mapping.DependOnRequest([]string{name}) })
	if first < 0 {
		return nil
	}
	fixed, _, _ := strings.Cut(b.Path, "{"+names[first]+"}")
	if first == 0 && filepath.Dir(fixed+".") == "." {
		return fmt.Errorf("%s must begin with a folder that does not depend on the request", b.Path)
	}
	if b.fixed, err = mapping.ParseTemplate(fixed); err != nil {
		return err
	}
	b.path, err = mapping.ParseTemplate(b.Path[len(fixed):])
	return err
}

// Bind expands the path for a request.
func (b *Backend) Bind(r *http.Request) (backend.Upstream, error) {
	find := argument.Lookup(r)
	expand := func(t *mapping.Template) string { return string(t.Bind(find).Append(nil, new(mapping.Document))) }
	path := expand(b.path)
	if b.fixed != nil {
		var err error
		if path, err = within(expand(b.fixed), path); err != nil {
			return nil, caddyhttp.Error(http.StatusNotFound, err)
		}
	}
	return &upstream{path: path, backend: b}, nil
}

// within joins the fixed beginning of a path and the rest, which has values from a request. The path must stay in the folder in the
// fixed part. It must not have "..", even if that seems to stay in the folder: after a symbolic link, it would lead elsewhere.
func within(fixed, chosen string) (string, error) {
	folder, name := filepath.Split(fixed)
	name = strings.TrimLeft(name+chosen, "/") // the value of {path} begins with a slash
	if folder == "" || !filepath.IsLocal(name) || hasDotDot(name) || strings.ContainsRune(name, 0) {
		return "", fmt.Errorf("path %q leads outside of %s", fixed+chosen, folder)
	}
	return filepath.Join(folder, name), nil
}

func hasDotDot(path string) bool {
	return slices.Contains(strings.Split(filepath.ToSlash(path), "/"), "..")
}

// upstream is the file for one request.
type upstream struct {
	path    string
	backend *Backend
}

func (u *upstream) Key() string {
	return backend.Key("file", u.path, u.backend.From, strconv.Itoa(u.backend.Last))
}

func (u *upstream) CanResume(lastID string) bool {
	_, ok := follow.NewIDs(u.backend.key, u.path).Parse(lastID)
	return ok
}

func (u *upstream) Stream(ctx context.Context, lastID string, sink backend.Sink) error {
	options := follow.Options{Path: u.path, From: u.backend.from, Alone: u.backend.fixed != nil}
	ids := follow.NewIDs(u.backend.key, u.path)
	position, resume := ids.Parse(lastID)
	if resume {
		options.Resume = &position
	}
	follower, err := follow.Open(ctx, options)
	if err != nil && u.backend.fixed != nil {
		return caddyhttp.Error(http.StatusNotFound, err) // such as a folder: the request's fault, not the server's
	}
	if err != nil {
		return err
	}
	defer follower.Close()
	input, err := sink.Open("")
	if err != nil {
		return err
	}
	if lastID != "" && !resume {
		if err := input.Gap(); err != nil { // records after that event may be lost
			return err
		}
	}

	var at follow.Position // the position of the next byte
	var generation string  // the generation of the bytes in last
	var last []byte        // the bytes of the last write
	lastEnd := int64(0)    // the offset after them
	var lastByte byte      // the byte before them
	appendID := func(dst []byte, offset int64) []byte {
		end := lastByte
		if i := int64(len(last)) - (lastEnd - offset) - 1; i >= 0 && i < int64(len(last)) {
			end = last[i]
		}
		return ids.Append(dst, follow.Position{Generation: generation, Offset: offset, InLine: end != '\n'})
	}
	for buf := make([]byte, 64<<10); ; {
		if len(last) > 0 {
			lastByte, last = last[len(last)-1], nil // Next reuses its buffer
		}
		chunk, err := follower.Next(ctx, buf)
		if err != nil {
			return err
		}
		if chunk.NewFile {
			// An unfinished line at the end of the old file is complete, unless the file was truncated.
			if err := input.End(!chunk.Truncated); err != nil {
				return err
			}
		}
		if chunk.Gap {
			if err := input.Gap(); err != nil {
				return err
			}
		}
		if here := (follow.Position{Generation: chunk.Generation, Offset: chunk.Offset}); here != at && chunk.Generation != "" {
			generation = here.Generation
			input.SetOffset(here.Offset, appendID)
			at = here
		}
		last, lastEnd = chunk.Data, chunk.Offset+int64(len(chunk.Data))
		if _, err := input.Write(chunk.Data); err != nil {
			return err
		}
		at.Offset += int64(len(chunk.Data))
	}
}

// UnmarshalCaddyfile sets up the backend from Caddyfile tokens. Syntax:
//
//	backend file <path> {
//	    from start | end | last <n>
//	}
func (b *Backend) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // consume backend name
	path, err := directive.OneArg(d)
	if err != nil {
		return err
	}
	b.Path = path
	seen := make(directive.Seen)
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		if err := seen.Add(d); err != nil {
			return err
		}
		if d.Val() != "from" {
			return d.Errf("unrecognized subdirective %q of backend file", d.Val())
		}
		given, err := directive.Args(d, 1, 2)
		if err != nil {
			return err
		}
		b.From = given[0]
		switch {
		case b.From == fromLast:
			if b.Last, err = directive.ParseCount(d, "from last", given[1], 1); err != nil {
				return err
			}
		case b.From != fromStart && b.From != fromEnd:
			return d.Errf("from must be %s, %s or %s <n>, not %q", fromStart, fromEnd, fromLast, b.From)
		case given[1] != "":
			return d.ArgErr()
		}
	}
	return directive.Compiled(d, b.Compile)
}

var (
	_ backend.Backend       = (*Backend)(nil)
	_ backend.Resumer       = (*upstream)(nil)
	_ caddy.Provisioner     = (*Backend)(nil)
	_ caddyfile.Unmarshaler = (*Backend)(nil)
)
