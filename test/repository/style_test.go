package repository_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// longestSentence is the most words that a sentence of the documentation may have.
const longestSentence = 32

// riddles are ways to put things that a reader stumbles over.
var riddles = map[string]*regexp.Regexp{
	"a sentence that begins with a question word and is no question": regexp.MustCompile(`^(What|Who|Whoever|Whatever|Which|Whose)\b[^?]*$`),
	"an old word": regexp.MustCompile(`(?i)\b(thus|hence|thereby|whereby|therein|thereof|albeit|whilst|save for|lest|of course|utili[sz]e|leverag\w+|seamless\w*|simply|easily|obviously)\b`),
}

// prose is the text of a page without code, links, tables' borders and headings: sentences, each in one line.
func prose(page string) (sentences []string) {
	page = regexp.MustCompile("(?ms)^```.*?^```").ReplaceAllString(page, "\n\n")
	page = regexp.MustCompile("``[^\n]+?``|`[^`]+`").ReplaceAllString(page, "code")
	page = regexp.MustCompile(`!?\[((?:[^\[\]]|\[[^\]]*\])*)\]\([^)]*\)`).ReplaceAllString(page, "$1")
	page = regexp.MustCompile(`(?m)^(#+ .*|\|[-| :]+\||    .*)$`).ReplaceAllString(page, "")
	page = regexp.MustCompile(`(?m)^(\d+\.|-) `).ReplaceAllString(page, "\n\n")
	page = regexp.MustCompile(`\|\n|\|`).ReplaceAllString(page, "\n\n") // each cell for itself
	for _, paragraph := range regexp.MustCompile(`\n\s*\n`).Split(page, -1) {
		paragraph = strings.Join(strings.Fields(paragraph), " ")
		for _, sentence := range regexp.MustCompile(`[.:!?] `).Split(paragraph, -1) {
			if sentence != "" {
				sentences = append(sentences, strings.TrimLeft(sentence, "*_ "))
			}
		}
	}
	return sentences
}

// TestTheDocumentationIsPlain: short sentences, without riddles. Spelling is checked by cspell.
func TestTheDocumentationIsPlain(t *testing.T) {
	files, err := filepath.Glob(filepath.Join(root, "docs/*.md"))
	if err != nil || len(files) < 10 {
		t.Fatalf("%d pages: %v", len(files), err)
	}
	examples, err := filepath.Glob(filepath.Join(root, "examples/*/README.md"))
	if err != nil {
		t.Fatal(err)
	}
	files = append(files, examples...)
	for _, name := range []string{"README.md", "SECURITY.md", "CONTRIBUTING.md", "CHANGELOG.md", "examples/README.md"} {
		files = append(files, filepath.Join(root, name))
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		name := strings.TrimPrefix(file, root+"/")
		for _, sentence := range prose(string(text)) {
			if n := len(strings.Fields(sentence)); n > longestSentence {
				t.Errorf("%s: %d words: %s", name, n, sentence)
			}
			for what, riddle := range riddles {
				if riddle.MatchString(sentence) {
					t.Errorf("%s: %s: %s", name, what, sentence)
				}
			}
			words := strings.Fields(sentence)
			for i := 1; i < len(words); i++ {
				if strings.EqualFold(words[i], words[i-1]) && words[i] != "code" && regexp.MustCompile(`^\pL+$`).MatchString(words[i]) {
					t.Errorf("%s: %q is there twice: %s", name, words[i], sentence)
				}
			}
		}
	}
}
