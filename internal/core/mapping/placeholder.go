package mapping

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/operators"
	"cel.dev/cel-go/common/overloads"
	"cel.dev/cel-go/common/types"
)

// placeholder matches a placeholder in an expression. CEL also uses braces for maps and messages, but these always contain a
// colon or nothing.
var placeholder = regexp.MustCompile(`\{([A-Za-z_$][^\s{}:,"']*)\}`)

// placeholders are the placeholders of one expression. Each becomes a CEL variable of type string, so that a value is never
// read as code.
type placeholders struct {
	prefix string
	names  []string
	vars   []string // the CEL variable of each name
}

// variable returns the CEL variable for a placeholder. It is as long as the placeholder with its braces, so that positions in
// error messages are also right for the original expression.
func (p *placeholders) variable(name string) (string, error) {
	switch own, _ := cutEscape(name); {
	case own == "line":
		return "", errors.New("{line} is for templates: write record, which is the record or, with parse, its fields")
	case own == "seq", own == "record", strings.HasPrefix(own, "record."):
		return "", fmt.Errorf("write %s without the braces (outside of quotes): it is a variable in an expression", name)
	}
	if i := slices.Index(p.names, name); i >= 0 {
		return p.vars[i], nil
	}
	v := fmt.Sprintf("%s%d", p.prefix, len(p.names))
	v += strings.Repeat("_", max(0, len(name)+len("{}")-len(v)))
	p.names = append(p.names, name)
	p.vars = append(p.vars, v)
	return v, nil
}

// restore replaces the variables in a message with their placeholders.
func (p *placeholders) restore(message string) string {
	for i, v := range p.vars {
		message = strings.ReplaceAll(message, v, "{"+p.names[i]+"}")
	}
	return message
}

// replaceInCode replaces the placeholders in expr with variables, outside of string literals and comments.
func (p *placeholders) replaceInCode(expr string) (string, error) {
	// An identifier of the expression must not be taken for one of these variables.
	for p.prefix = "p"; regexp.MustCompile(p.prefix + "[0-9]").MatchString(expr); {
		p.prefix += "p"
	}
	var out strings.Builder
	for i := 0; i < len(expr); {
		if end := skipLiteral(expr, i); end > i {
			out.WriteString(expr[i:end])
			i = end
			continue
		}
		if expr[i] == '{' {
			if m := placeholder.FindStringSubmatch(expr[i:]); m != nil && strings.HasPrefix(expr[i:], m[0]) {
				v, err := p.variable(m[1])
				if err != nil {
					return "", err
				}
				out.WriteString(v)
				i += len(m[0])
				continue
			}
		}
		out.WriteByte(expr[i])
		i++
	}
	return out.String(), nil
}

// skipLiteral returns the end of the string literal or comment at i, or i if there is none (CEL specification, "Lexis").
func skipLiteral(expr string, i int) int {
	if strings.HasPrefix(expr[i:], "//") {
		if n := strings.IndexByte(expr[i:], '\n'); n >= 0 {
			return i + n
		}
		return len(expr)
	}
	quote := i
	raw := false
	for quote < len(expr) && strings.IndexByte("rRbB", expr[quote]) >= 0 {
		raw = raw || expr[quote]|0x20 == 'r'
		quote++
	}
	if quote == len(expr) || expr[quote] != '"' && expr[quote] != '\'' {
		return i
	}
	mark := expr[quote : quote+1]
	if triple := strings.Repeat(mark, 3); strings.HasPrefix(expr[quote:], triple) {
		mark = triple
	}
	for j := quote + len(mark); j < len(expr); j++ {
		if strings.HasPrefix(expr[j:], mark) {
			return j + len(mark)
		}
		if expr[j] == '\\' && !raw {
			j++
		}
	}
	return len(expr) // unclosed: the CEL parser says so
}

// replaceInLiterals replaces each string or bytes literal that has placeholders with a concatenation of texts and variables. It
// works on the parsed expression, so that quotes and escapes cannot mislead it.
func (p *placeholders) replaceInLiterals(parsed *ast.AST) (err error) {
	id := ast.MaxID(parsed)
	build := builder{ExprFactory: ast.NewExprFactory(), info: parsed.SourceInfo(), id: id}
	ast.PostOrderVisit(parsed.Expr(), ast.NewExprVisitor(func(e ast.Expr) {
		if err != nil {
			return
		}
		switch e.Kind() {
		case ast.SelectKind:
			err = p.refuse(e.AsSelect().FieldName(), "write record[%s] to look up a key by its value")
		case ast.ComprehensionKind:
			loop := e.AsComprehension()
			for _, name := range []string{loop.IterVar(), loop.IterVar2(), loop.AccuVar()} {
				if err == nil {
					err = p.refuse(name, "give the variable of a macro a name of its own instead of %s")
				}
			}
		case ast.LiteralKind:
			err = p.replaceInLiteral(e, &build)
		}
	}))
	return err
}

// refuse reports a placeholder where CEL expects a name. Its value would have to be code.
func (p *placeholders) refuse(name, hint string) error {
	if i := slices.Index(p.vars, name); i >= 0 {
		return fmt.Errorf("{%s} stands for a string here, not for a name: "+hint, p.names[i], "{"+p.names[i]+"}")
	}
	return nil
}

func (p *placeholders) replaceInLiteral(e ast.Expr, build *builder) error {
	var text string
	var isBytes bool
	switch v := e.AsLiteral().(type) {
	case types.String:
		text = string(v)
	case types.Bytes:
		text, isBytes = string(v), true
	default:
		return nil
	}
	literal := func(s string) ast.Expr {
		if isBytes {
			return build.NewLiteral(build.next(e), types.Bytes(s))
		}
		return build.NewLiteral(build.next(e), types.String(s))
	}
	var sum ast.Expr
	add := func(x ast.Expr) {
		if sum == nil {
			sum = x
			return
		}
		sum = build.NewCall(build.next(e), operators.Add, sum, x)
	}
	end := 0
	for _, m := range placeholder.FindAllStringSubmatchIndex(text, -1) {
		// \p{Greek} is a class of characters in a regular expression.
		if before := text[:m[0]]; strings.HasSuffix(before, `\p`) || strings.HasSuffix(before, `\P`) {
			continue
		}
		v, err := p.variable(text[m[2]:m[3]])
		if err != nil {
			return err
		}
		if end < m[0] {
			add(literal(text[end:m[0]]))
		}
		x := build.NewIdent(build.next(e), v)
		if isBytes {
			x = build.NewCall(build.next(e), overloads.TypeConvertBytes, x)
		}
		add(x)
		end = m[1]
	}
	if sum == nil {
		return nil
	}
	if end < len(text) {
		add(literal(text[end:]))
	}
	e.SetKindCase(sum)
	return nil
}

// builder makes expressions whose errors point to the literal that they come from.
type builder struct {
	ast.ExprFactory
	info *ast.SourceInfo
	id   int64
}

func (b *builder) next(at ast.Expr) int64 {
	b.id++
	if r, ok := b.info.GetOffsetRange(at.ID()); ok {
		b.info.SetOffsetRange(b.id, r)
	}
	return b.id
}
