package sse_test

import (
	"cmp"
	"encoding/json"
	"io/fs"
	"maps"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// A block is code between fences in a page.
type block struct {
	page, heading, language, text string
}

// pages are the Markdown files of the repository, by their paths.
func pages(t *testing.T) map[string]string {
	t.Helper()
	all := make(map[string]string)
	err := filepath.WalkDir(".", func(path string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir() && (entry.Name() == "node_modules" || entry.Name() == ".git"):
			return filepath.SkipDir
		case filepath.Ext(path) == ".md":
			text, err := os.ReadFile(path)
			all[filepath.ToSlash(path)] = string(text)
			return err
		}
		return nil
	})
	if err != nil || len(all) < 30 {
		t.Fatalf("there are %d pages: %v", len(all), err)
	}
	return all
}

// isManual reports whether a page is one that users read to write a config.
func isManual(page string) bool { return page == "README.md" || strings.HasPrefix(page, "docs/") }

// blocks are the blocks of these pages. The blocks of docs/backends.md are files of a module of its own, which has its own test.
func blocks(t *testing.T, of func(page string) bool) (all []block) {
	t.Helper()
	texts := pages(t)
	for _, page := range slices.Sorted(maps.Keys(texts)) {
		if page == "docs/backends.md" || !of(page) {
			continue
		}
		b, open := block{page: page}, false
		for line := range strings.Lines(texts[page]) {
			switch fence, isFence := strings.CutPrefix(strings.TrimRight(line, "\n"), "```"); {
			case isFence && open:
				all = append(all, b)
				open = false
			case isFence:
				b.language, b.text, open = fence, "", true
			case open:
				b.text += line
			case strings.HasPrefix(line, "#"):
				b.heading = strings.TrimSpace(strings.TrimLeft(line, "#"))
			}
		}
		if open {
			t.Errorf("%s: a block has no end", page)
		}
	}
	return all
}

// configs are the blocks of Caddyfiles, each as a whole Caddyfile.
func configs(t *testing.T, of func(page string) bool) (all []block) {
	t.Helper()
	for _, b := range blocks(t, of) {
		if b.language == "caddyfile" {
			b.text = whole(b.text)
			all = append(all, b)
		}
	}
	return all
}

var (
	isSite      = regexp.MustCompile(`^(\{|[^\s{]*[.:][^\s{]*( \{|,))`)
	isDirective = regexp.MustCompile(`^(#.*\n)*(sse|handle|header|encode|log|@\w+)\b`)
)

// whole puts options of sse into an sse, and directives of a site into a site, each beside a next handler.
func whole(text string) string {
	switch {
	case isSite.MatchString(text):
		return text
	case isDirective.MatchString(text):
		return "example.com {\n" + text + "}\n"
	}
	return "example.com {\n\thandle /events {\n\tsse {\n" + text + "}\n\treverse_proxy localhost:9000\n}\n}\n"
}

// take has Caddy take a config, changed where a machine may lack a folder or a cluster's certificate.
func take(t *testing.T, text string) []byte {
	t.Helper()
	t.Setenv("PASSWORD_HASH", passwordHash)
	text = strings.ReplaceAll(text, "/var/log/caddy", t.TempDir())
	text = regexp.MustCompile(`(?m)^\t*tls_trust_pool file .*$`).ReplaceAllString(text, "")
	adapted, err := adapt(t, text)
	if err != nil {
		t.Fatalf("%s\n%v", text, err)
	}
	validate(t, adapted)
	return adapted
}

// TestEveryConfigInTheDocumentationIsOneThatCaddyTakes; its commands are run by .ci/readme.
func TestEveryConfigInTheDocumentationIsOneThatCaddyTakes(t *testing.T) {
	all := configs(t, func(string) bool { return true })
	if len(all) < 80 {
		t.Fatalf("only %d blocks", len(all))
	}
	for _, b := range all {
		t.Run(b.page+" "+b.heading, func(t *testing.T) {
			if usesAbsentStore(b.text) {
				t.Skip("its store is a module of its own, whose tests load it")
			}
			take(t, b.text)
		})
	}
}

// TestEveryProxyOfTheDocumentationIsFencedIn: a matcher of sse alone lets all other paths pass to its upstream.
func TestEveryProxyOfTheDocumentationIsFencedIn(t *testing.T) {
	t.Setenv("PASSWORD_HASH", passwordHash)
	all := configs(t, func(string) bool { return true })
	files, err := filepath.Glob("examples/*/Caddyfile")
	if err != nil || len(files) == 0 {
		t.Fatalf("there are no examples: %v", err)
	}
	for _, file := range append(files, "Caddyfile.example") {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, block{page: file, text: string(text)})
	}
	proxies := 0
	for _, b := range all {
		if usesAbsentStore(b.text) {
			continue
		}
		adapted, err := adapt(t, b.text)
		if err != nil {
			t.Fatalf("%s\n%v", b.text, err)
		}
		var tree any
		if err := json.Unmarshal(adapted, &tree); err != nil {
			t.Fatal(err)
		}
		var visit func(node any, fenced bool)
		visit = func(node any, fenced bool) {
			switch node := node.(type) {
			case []any:
				for _, child := range node {
					visit(child, fenced)
				}
			case map[string]any:
				if sets, ok := node["match"].([]any); ok && !slices.ContainsFunc(sets, func(set any) bool { _, has := set.(map[string]any)["path"]; return !has }) {
					fenced = true
				}
				if node["handler"] == "sse" {
					return // the proxy of recheck asks another server
				}
				if handler := node["handler"]; handler == "reverse_proxy" || handler == "php_fastcgi" {
					if proxies++; !fenced {
						t.Errorf("%s: a proxy takes every path:\n%s", b.page, b.text)
					}
				}
				for _, child := range node {
					visit(child, fenced)
				}
			}
		}
		visit(tree, false)
	}
	if proxies == 0 {
		t.Error("there is no proxy at all")
	}
}

// TestEveryBlockOfTheDocumentationIsOfAKindThatATestRuns: sh by .ci/readme, js by test/browser, the configs of other proxies by
// test/servers. Text is for reading.
func TestEveryBlockOfTheDocumentationIsOfAKindThatATestRuns(t *testing.T) {
	for _, b := range blocks(t, isManual) {
		if page := b.page; !slices.Contains([]string{"caddyfile", "json", "sh", "js", "nginx", "haproxy", "text"}, b.language) && page != "docs/architecture.md" {
			t.Errorf("%s, %s: no test knows a block of %q", b.page, b.heading, b.language)
		}
	}
}

// TestEveryLinkInsideTheRepositoryLeadsSomewhere, and to a heading that is there.
func TestEveryLinkInsideTheRepositoryLeadsSomewhere(t *testing.T) {
	all, links := pages(t), 0
	for page, text := range all {
		text = regexp.MustCompile("(?ms)^```.*?^```").ReplaceAllString(text, "")
		text = regexp.MustCompile("`[^`\n]*`").ReplaceAllStringFunc(text, func(code string) string { // a link may stand around code
			return strings.NewReplacer("[", "", "]", "", "(", "", ")", "").Replace(code)
		})
		for _, match := range regexp.MustCompile(`\]\(<?([^)\s>]+)>?\)`).FindAllStringSubmatch(text, -1) {
			link, err := url.Parse(match[1])
			if err != nil {
				t.Errorf("%s: %v", page, err)
				continue
			}
			if link.Scheme != "" {
				continue
			}
			links++
			target := page
			if link.Path != "" {
				target = filepath.ToSlash(filepath.Join(filepath.Dir(page), link.Path))
			}
			if _, err := os.Stat(target); err != nil {
				t.Errorf("%s: there is no %s", page, match[1])
			} else if link.Fragment != "" && !slices.Contains(anchors(all[target]), link.Fragment) {
				t.Errorf("%s: there is no heading for %s", page, match[1])
			}
		}
	}
	if links < 50 {
		t.Errorf("only %d links were found", links)
	}
}

// anchors are the names that GitHub gives to headings.
func anchors(page string) (all []string) {
	page = regexp.MustCompile("(?ms)^```.*?^```").ReplaceAllString(page, "")
	for _, match := range regexp.MustCompile(`(?m)^#+ (.*)$`).FindAllStringSubmatch(page, -1) {
		name := regexp.MustCompile(`[^\p{L}\p{N}\-_ ]`).ReplaceAllString(strings.ToLower(match[1]), "")
		all = append(all, strings.ReplaceAll(name, " ", "-"))
	}
	return all
}

func TestEveryPageOfTheDocumentationIsInItsIndex(t *testing.T) {
	all := pages(t)
	for page := range all {
		if name, ok := strings.CutPrefix(page, "docs/"); ok && name != "README.md" && !strings.Contains(all["docs/README.md"], "]("+name+")") {
			t.Errorf("docs/README.md has no link to %s", name)
		}
	}
	if !strings.Contains(all["README.md"], "(docs/README.md)") {
		t.Error("README.md has no link to the index")
	}
}

// TestEveryTestThatTheDocumentationNamesIsThere, so that a promise keeps its test.
func TestEveryTestThatTheDocumentationNamesIsThere(t *testing.T) {
	there := make(map[string]bool)
	err := filepath.WalkDir(".", func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() && entry.Name() == "node_modules" {
			return cmp.Or(err, fs.SkipDir)
		}
		if strings.HasSuffix(path, "_test.go") {
			text, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			for _, match := range regexp.MustCompile(`(?m)^func ((?:Test|Fuzz)\w+)\(`).FindAllStringSubmatch(string(text), -1) {
				there[match[1]] = true
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	named := 0
	for page, text := range pages(t) {
		if !isManual(page) {
			continue
		}
		for _, match := range regexp.MustCompile("`((?:Test|Fuzz)\\w+)`").FindAllStringSubmatch(text, -1) {
			if named++; !there[match[1]] {
				t.Errorf("%s: there is no test %s", page, match[1])
			}
		}
	}
	if named < 80 {
		t.Errorf("only %d tests are named", named)
	}
}
