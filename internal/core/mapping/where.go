package mapping

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/ext"
	"cel.dev/cel-go/interpreter"
)

// timeLimit is the longest time for an evaluation over one record. Without it, nested macros over a large record would take
// hours. CEL's own cost limit is of no use: the time for its accounting grows with the square of the number of iterations.
const timeLimit = time.Second

// interruptCheck is the number of iterations of a macro after which timeLimit is checked.
const interruptCheck = 16

// Where is a compiled CEL expression over a record. It does not change after CompileWhere. Many goroutines may use it at the same
// time.
type Where struct {
	expr         string
	placeholders placeholders
	program      cel.Program
	loops        bool // has macros, so it may take long
}

// Filter is a Where with the values of its placeholders, for the records of one stream. Only one goroutine may use it at a time.
type Filter struct {
	where  *Where
	values []ref.Val // the values of the placeholders, in order

	record *Document
	object object // the record, if it is a JSON object
}

// environment is the environment of expressions. It has the libraries of Caddy's own expression matcher, optional types
// (record.?level.orValue("")), and the variables record and seq.
var environment = sync.OnceValues(func() (*cel.Env, error) {
	libraries, err := cel.NewCustomEnv(
		standardLibrary(), boundedMatches(),
		ext.Strings(), ext.Bindings(), ext.Lists(ext.ListsMaxRangeSize(longestOut)), ext.Math(),
		cel.OptionalTypes(),
		cel.CrossTypeNumericComparisons(true), // so that 1 < 1.5 works: in JSON, 1 and 1.0 are the same type
		cel.Variable("record", cel.DynType),
		cel.Variable("seq", cel.IntType),
	)
	if err != nil {
		return nil, err
	}
	return libraries.Extend(boundedFunctions()...)
})

// CompileWhere compiles a CEL expression that selects records.
//
// The variable record is the record's JSON value, or a string if the record is not JSON. The variable seq is its number. A
// {placeholder}, even in a string literal, stands for a string that Bind supplies, and never for code.
func CompileWhere(expr string) (*Where, error) {
	w := &Where{expr: expr}
	if err := w.compile(); err != nil {
		return nil, fmt.Errorf("expression %q: %w", expr, err)
	}
	return w, nil
}

func (w *Where) compile() error {
	if strings.TrimSpace(w.expr) == "" {
		return errors.New("is empty: write a condition, or leave the option out to send every record")
	}
	code, err := w.placeholders.replaceInCode(w.expr)
	if err != nil {
		return err
	}
	env, err := environment()
	if err != nil {
		return fmt.Errorf("setting up CEL: %w", err)
	}
	parsed, issues := env.Parse(code)
	if issues.Err() != nil {
		return w.explain(issues)
	}
	if err := w.placeholders.replaceInLiterals(parsed.NativeRep()); err != nil {
		return err
	}
	var variables []cel.EnvOption
	for _, v := range w.placeholders.vars {
		variables = append(variables, cel.Variable(v, cel.StringType))
	}
	if env, err = env.Extend(variables...); err != nil {
		return fmt.Errorf("setting up CEL: %w", err)
	}
	checked, issues := env.Check(parsed)
	if issues.Err() != nil {
		return w.explain(issues)
	}
	if t := checked.OutputType(); !t.IsExactType(cel.BoolType) && !t.IsExactType(cel.DynType) {
		return fmt.Errorf("must come out true or false, not as %s: compare it with something", t)
	}
	w.loops = loops(checked.NativeRep().Expr())
	w.program, err = env.Program(checked, cel.EvalOptions(cel.OptOptimize), compiledMatches(), cel.InterruptCheckFrequency(interruptCheck))
	return err
}

func loops(e ast.Expr) (found bool) {
	ast.PreOrderVisit(e, ast.NewExprVisitor(func(e ast.Expr) {
		found = found || e.Kind() == ast.ComprehensionKind
	}))
	return found
}

// explain rewrites CEL's errors in terms of the expression as it was written.
func (w *Where) explain(issues *cel.Issues) error {
	var list []string
	for _, e := range issues.Errors() {
		message := w.placeholders.restore(e.Message)
		if strings.Contains(message, "token recognition error at: '=") {
			// The other errors follow from this one.
			return fmt.Errorf("line %d, column %d: a single = does not compare: write ==", e.Location.Line(), e.Location.Column()+1)
		}
		list = append(list, fmt.Sprintf("line %d, column %d: %s", e.Location.Line(), e.Location.Column()+1, message))
	}
	return errors.New(strings.Join(list, "; "))
}

// Placeholders returns the names in braces, without the braces.
func (w *Where) Placeholders() []string { return slices.Clone(w.placeholders.names) }

// Bind gives the placeholders their values. A placeholder that lookup does not know stays as it is written.
func (w *Where) Bind(lookup func(name string) (value string, known bool)) *Filter {
	f := &Filter{where: w}
	for _, name := range w.placeholders.names {
		value, known := lookup(name)
		if !known {
			value = "{" + name + "}"
		}
		f.values = append(f.values, types.String(value))
	}
	return f
}

// Match reports whether the expression is true for r. It returns an error if the expression is neither true nor false, for
// example because a key is missing or types do not fit.
func (f *Filter) Match(r *Document) (bool, error) {
	f.record = r
	f.object = object{}
	result, err := f.evaluate()
	if errors.Is(err, context.DeadlineExceeded) {
		return false, fmt.Errorf("where expression %q: took longer than %v", f.where.expr, timeLimit)
	}
	if err != nil {
		// The message is made now: err may hold values that share the record's memory.
		return false, fmt.Errorf("where expression %q: %s", f.where.expr, f.where.placeholders.restore(err.Error()))
	}
	match, ok := result.(types.Bool)
	if !ok {
		return false, fmt.Errorf("where expression %q: came out as %s, not as true or false", f.where.expr, result.Type())
	}
	return bool(match), nil
}

func (f *Filter) evaluate() (ref.Val, error) {
	if !f.where.loops {
		result, _, err := f.where.program.Eval(f)
		return result, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), timeLimit)
	defer cancel()
	result, _, err := f.where.program.ContextEval(ctx, f)
	return result, err
}

// ResolveName implements interpreter.Activation.
func (f *Filter) ResolveName(name string) (any, bool) {
	switch name {
	case "record":
		return f.recordValue(), true
	case "seq":
		return types.Int(f.record.seq), true
	}
	if i := slices.Index(f.where.placeholders.vars, name); i >= 0 {
		return f.values[i], true
	}
	return nil, false
}

// Parent implements interpreter.Activation.
func (f *Filter) Parent() interpreter.Activation { return nil }

func (f *Filter) recordValue() ref.Val {
	if f.object.raw != "" {
		return &f.object
	}
	if !f.record.IsJSON() {
		return types.String(f.record.text)
	}
	value := f.record.value()
	if value[0] != '{' {
		return celValue(value)
	}
	f.object.raw = value
	return &f.object
}

// Interface guard
var _ interpreter.Activation = (*Filter)(nil)
