package sse_test

import (
	"encoding/json"
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/caddyserver/caddy/v2"
	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	sse "github.com/seed-4dedbcea/caddy-sse"
	"github.com/seed-4dedbcea/caddy-sse/store/storeoptions"
)

// An entry is an option of docs/reference.md, or a backend or store with its options.
type entry struct {
	heading  string
	syntax   string
	defaults string
	fields   []string   // the names of the JSON fields
	options  []string   // of a backend or store: the names of its own options
	rows     [][]string // of a backend or store: its table, each with option, default and JSON
	examples []string
}

var inCode = regexp.MustCompile("`([^`]+)`")

// entries reads docs/reference.md.
func entries(t *testing.T) map[string]entry {
	t.Helper()
	page, err := os.ReadFile("docs/reference.md")
	if err != nil {
		t.Fatal(err)
	}
	all := make(map[string]entry)
	for _, section := range strings.Split(string(page), "\n### ")[1:] {
		section, _, _ = strings.Cut(section, "\n## ")
		heading, text, _ := strings.Cut(section, "\n")
		e := entry{heading: strings.Trim(heading, "`")}
		if _, twice := all[e.heading]; twice {
			t.Errorf("%s is there twice", e.heading)
		}
		if m := regexp.MustCompile("(?m)^`(.+)` · default: (.+) · JSON: (.+)$").FindStringSubmatch(text); m != nil {
			e.syntax, e.defaults = m[1], m[2]
			for _, name := range inCode.FindAllStringSubmatch(m[3], -1) {
				e.fields = append(e.fields, name[1])
			}
		} else if !isModule(e.heading) {
			t.Errorf("%s has no line with its syntax, default and JSON", e.heading)
		}
		e.rows = regexp.MustCompile("(?m)^\\| `(.+?)` \\| .* \\| (.+) \\| (`.+`) \\|$").FindAllStringSubmatch(text, -1)
		for _, row := range e.rows {
			if name, _, _ := strings.Cut(row[1], " "); !strings.HasPrefix(name, "<") {
				e.options = append(e.options, name)
			}
			for _, name := range inCode.FindAllStringSubmatch(row[3], -1) {
				e.fields = append(e.fields, name[1])
			}
		}
		for _, example := range regexp.MustCompile("(?s)```caddyfile\n(.*?)```").FindAllStringSubmatch(text, -1) {
			e.examples = append(e.examples, example[1])
		}
		if len(e.examples) == 0 {
			t.Errorf("%s has no example", e.heading)
		}
		all[e.heading] = e
	}
	return all
}

func isModule(heading string) bool {
	return strings.HasPrefix(heading, "backend ") || strings.HasPrefix(heading, "store ")
}

// subdirectives are the options that the Caddyfile parsers of a package take: d.Val() is compared with their names.
func subdirectives(t *testing.T, dir string) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil {
		t.Fatal(err)
	}
	names := make(map[string]bool)
	add := func(e ast.Expr) {
		if literal, ok := e.(*ast.BasicLit); ok && literal.Kind == token.STRING {
			name, _ := strconv.Unquote(literal.Value)
			names[name] = true
		}
	}
	isVal := func(e ast.Expr) bool {
		call, ok := e.(*ast.CallExpr)
		if !ok {
			return false
		}
		method, ok := call.Fun.(*ast.SelectorExpr)
		return ok && method.Sel.Name == "Val"
	}
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(parsed, func(node ast.Node) bool {
			switch node := node.(type) {
			case *ast.SwitchStmt:
				if isVal(node.Tag) {
					for _, clause := range node.Body.List {
						for _, e := range clause.(*ast.CaseClause).List {
							add(e)
						}
					}
				}
			case *ast.BinaryExpr:
				if isVal(node.X) {
					add(node.Y)
				}
			}
			return true
		})
	}
	return slices.Sorted(maps.Keys(names))
}

// jsonFields are the names of a struct's fields in JSON, with those of our own structs in it: share.history.
func jsonFields(of reflect.Type, prefix string) (all []string) {
	for of.Kind() == reflect.Pointer {
		of = of.Elem()
	}
	if of.Kind() != reflect.Struct || !strings.HasPrefix(of.PkgPath(), "github.com/seed-4dedbcea/caddy-sse") {
		return nil
	}
	for i := range of.NumField() {
		field := of.Field(i)
		name, _, _ := strings.Cut(field.Tag.Get("json"), ",")
		switch {
		case name != "":
			all = append(all, prefix+name)
			all = append(all, jsonFields(field.Type, prefix+name+".")...)
		case field.Anonymous:
			all = append(all, jsonFields(field.Type, prefix)...)
		}
	}
	return all
}

func same(t *testing.T, what string, documented, there []string) {
	t.Helper()
	documented, there = slices.Clone(documented), slices.Clone(there)
	slices.Sort(documented)
	slices.Sort(there)
	if !slices.Equal(documented, there) {
		t.Errorf("%s: the page has\n%q\nand the code has\n%q", what, documented, there)
	}
}

// storesOfThisBuild are stores that the root's tests have; others are modules of their own.
func storesOfThisBuild() (names []string) {
	for _, module := range caddy.GetModules("http.sse.stores") {
		names = append(names, module.ID.Name())
	}
	return names
}

// usesAbsentStore reports whether a config needs a store that is not part of this build.
func usesAbsentStore(config string) bool {
	m := regexp.MustCompile(`(?m)^\s*store (\S+)`).FindStringSubmatch(config)
	return m != nil && !slices.Contains(storesOfThisBuild(), m[1])
}

func TestTheReferenceHasEveryOptionAndNothingElse(t *testing.T) {
	all := entries(t)
	var options, fields []string
	_, stores := reflect.TypeFor[sse.Share]().FieldByName("StoreRaw") // a build without that option has no place for stores
	for heading, e := range all {
		if !isModule(heading) && (stores || heading != "store") {
			options = append(options, heading)
			fields = append(fields, e.fields...)
		}
	}
	same(t, "options of sse and share", options, subdirectives(t, "."))
	same(t, "JSON of the handler", fields, jsonFields(reflect.TypeFor[sse.Handler](), ""))
	checkStores(t, all)

	var documented, there []string
	for heading := range all {
		if name, ok := strings.CutPrefix(heading, "backend "); ok {
			documented = append(documented, name)
		}
	}
	for _, module := range caddy.GetModules("http.sse.backends") {
		name := module.ID.Name()
		of := reflect.Indirect(reflect.ValueOf(module.New())).Type()
		if dir, ours := strings.CutPrefix(of.PkgPath(), "github.com/seed-4dedbcea/caddy-sse/modules/"); ours && dir == name {
			there = append(there, name)
			e := all["backend "+name]
			same(t, "options of backend "+name, e.options, subdirectives(t, "modules/"+dir))
			same(t, "JSON of backend "+name, e.fields, jsonFields(of, ""))
		}
	}
	same(t, "backends", documented, there)
}

// TestTheReferenceHasEveryFlagOfTheCommand, with its default if it has one.
func TestTheReferenceHasEveryFlagOfTheCommand(t *testing.T) {
	page, err := os.ReadFile("docs/reference.md")
	if err != nil {
		t.Fatal(err)
	}
	var documented, there []string
	for _, row := range regexp.MustCompile("(?m)^\\| `--(\\w+)`(?:, `-(\\w)`)? \\| .* \\| (.+) \\|$").FindAllStringSubmatch(string(page), -1) {
		documented = append(documented, row[1]+" "+row[2]+" "+row[3])
	}
	command := new(cobra.Command)
	caddycmd.Commands()["sse"].CobraFunc(command)
	command.Flags().VisitAll(func(flag *pflag.Flag) {
		text := "`" + flag.DefValue + "`"
		if i := slices.IndexFunc(documented, func(d string) bool { return strings.HasPrefix(d, flag.Name+" ") }); i >= 0 && (flag.DefValue == "" || flag.DefValue == "false") {
			_, text, _ = strings.Cut(documented[i], " "+flag.Shorthand+" ") // there is no value to compare
		}
		there = append(there, flag.Name+" "+flag.Shorthand+" "+text)
	})
	same(t, "flags of caddy sse", documented, there)
}

// checkStores compares the stores' options with their packages, each of which is a module of its own.
func checkStores(t *testing.T, all map[string]entry) {
	t.Helper()
	var documented, there []string
	for heading := range all {
		if name, ok := strings.CutPrefix(heading, "store "); ok {
			documented = append(documented, name)
		}
	}
	modules, err := filepath.Glob("stores/*/module.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, module := range modules {
		dir := filepath.Dir(module)
		name := filepath.Base(dir)
		there = append(there, name)
		text, err := os.ReadFile(module)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(string(text), `"http.sse.stores.`+name+`"`) {
			t.Errorf("%s is not the store %s", module, name)
		}
		_, fields, _ := strings.Cut(string(text), "type Store struct {\n")
		fields, _, _ = strings.Cut(fields, "\n}\n")
		tags := jsonFields(reflect.TypeFor[storeoptions.Options](), "")
		for _, tag := range regexp.MustCompile(`json:"(\w+)`).FindAllStringSubmatch(fields, -1) {
			tags = append(tags, tag[1])
		}
		e := all["store "+name]
		same(t, "options of store "+name, e.options, slices.Concat(subdirectives(t, dir), subdirectives(t, "store/storeoptions")))
		same(t, "JSON of store "+name, e.fields, tags)
	}
	same(t, "stores", documented, there)
}

// TestTheReferencesExamplesGiveTheJSONThatItNames, and no other.
func TestTheReferencesExamplesGiveTheJSONThatItNames(t *testing.T) {
	known := jsonFields(reflect.TypeFor[sse.Handler](), "")
	for heading, e := range entries(t) {
		t.Run(heading, func(t *testing.T) {
			known, within := known, func(handler map[string]any) any { return handler }
			if slices.ContainsFunc(e.examples, usesAbsentStore) {
				t.Skip("its store is a module of its own, whose tests have the example")
			}
			if name, ok := strings.CutPrefix(heading, "backend "); ok {
				module, err := caddy.GetModule("http.sse.backends." + name)
				if err != nil {
					t.Fatal(err)
				}
				known = jsonFields(reflect.TypeOf(module.New()), "")
				within = func(handler map[string]any) any { return handler["backend"] }
			}
			var got []string
			for _, example := range e.examples {
				adapted := take(t, whole(example))
				handler := theHandler(t, adapted)
				for _, name := range known {
					if has(within(handler), strings.Split(name, ".")) && !slices.Contains(got, name) {
						got = append(got, name)
					}
				}
			}
			got = slices.DeleteFunc(got, func(name string) bool { // what an option of share stands in
				return (name == "share" || name == "share.key") && !slices.Contains(e.fields, name)
			})
			same(t, heading, e.fields, got)
		})
	}
}

// theHandler is the one sse in a config.
func theHandler(t *testing.T, config []byte) map[string]any {
	t.Helper()
	var tree any
	if err := json.Unmarshal(config, &tree); err != nil {
		t.Fatal(err)
	}
	var found map[string]any
	var visit func(node any)
	visit = func(node any) {
		switch node := node.(type) {
		case []any:
			for _, child := range node {
				visit(child)
			}
		case map[string]any:
			if node["handler"] == "sse" {
				found = node
			}
			for _, child := range node {
				visit(child)
			}
		}
	}
	visit(tree)
	return found
}

func has(node any, path []string) bool {
	object, ok := node.(map[string]any)
	if !ok {
		return false
	}
	child, ok := object[path[0]]
	return ok && (len(path) == 1 || has(child, path[1:]))
}
