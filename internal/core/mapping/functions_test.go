package mapping

import (
	"fmt"
	"strings"
	"testing"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/ext"
)

// The functions return the same results as CEL's own.
func TestBoundedFunctionsReturnWhatTheLibrariesDo(t *testing.T) {
	libraries, err := cel.NewEnv(ext.Strings(), ext.Lists(), cel.CrossTypeNumericComparisons(true))
	if err != nil {
		t.Fatal(err)
	}
	bounded, err := environment()
	if err != nil {
		t.Fatal(err)
	}
	evaluate := func(env *cel.Env, expr string) string {
		parsed, issues := env.Compile(expr)
		if issues.Err() != nil {
			t.Fatal(issues.Err())
		}
		program, err := env.Program(parsed)
		if err != nil {
			t.Fatal(err)
		}
		value, _, err := program.Eval(map[string]any{})
		if err != nil {
			return "error"
		}
		return fmt.Sprintf("%T %v", value, value.Value())
	}
	var expressions []string
	for _, text := range []string{`""`, `"a"`, `"abcabc"`, `"äbäbä"`, `"aaaa"`} {
		for _, part := range []string{`""`, `"a"`, `"bc"`, `"ä"`, `"abcabcabc"`} {
			expressions = append(expressions, text+".indexOf("+part+")", text+".lastIndexOf("+part+")", text+".replace("+part+`, "xy")`)
			for n := -1; n < 8; n++ {
				expressions = append(expressions, fmt.Sprintf("%s.indexOf(%s, %d)", text, part, n),
					fmt.Sprintf("%s.lastIndexOf(%s, %d)", text, part, n), fmt.Sprintf(`%s.replace(%s, "xy", %d)`, text, part, n))
			}
		}
	}
	expressions = append(expressions, `["a", "b"].join()`, `["a", "b"].join("-")`, `[].join("-")`, `[dyn(1)].join()`,
		`string([1, 2, 1, 3, 2].distinct() == [1, 2, 3])`, `["a", "b", "a"].distinct().join()`,
		`string([dyn(1), 1.0, 1u, 1.5, "1", true, null, null, [1], [1], {"a": 1}, {"a": 1.0}].distinct() == [dyn(1), 1.5, "1", true, null, [1], {"a": 1}])`,
		`string([dyn(18446744073709551615u), 18446744073709551615u, -1, -1.0].distinct().size())`, `string([0.0/0.0, 0.0/0.0].distinct().size())`)
	for _, pattern := range []string{"", "^a", "b$", "ä.*c", "(?i)AB+", "a{2,3}", "(", "[^a]", `\\\\w`} {
		expressions = append(expressions, fmt.Sprintf(`string(("ab" + "äbc").matches("" + "%s"))`, pattern), fmt.Sprintf(`string(matches("aaab", "" + "%s"))`, pattern))
	}
	for _, list := range []string{"[[]]", "[[1, 2], [], [3]]", "[[[1], 2], [[[3]]]]"} {
		expressions = append(expressions, "string("+list+".flatten().size())")
		for depth := -1; depth < 4; depth++ {
			expressions = append(expressions, fmt.Sprintf("string(%s.flatten(%d).size())", list, depth),
				fmt.Sprintf("string(%s.flatten(%d) == [1, 2, 3])", list, depth))
		}
	}
	expressions = append(expressions, `string(dyn(1).matches("" + "1"))`, `string("1".matches(dyn(1)))`)
	for _, expr := range expressions {
		if got, want := evaluate(bounded, expr), evaluate(libraries, expr); got != want {
			t.Errorf("%s: got %s, want %s", expr, got, want)
		}
	}
}

// Each of these took from seconds to hours, or many gigabytes. A test that runs into that again times out.
func TestNoFunctionTakesTimeOrMemoryBeyondWhatTheRecordIsWorth(t *testing.T) {
	long := strings.Repeat("a", 300_000)
	numbers := make([]string, 200_000)
	for i := range numbers {
		numbers[i] = fmt.Sprint(i)
	}
	many := strings.Join(numbers, ",")
	for _, c := range []struct{ expr, record, want string }{
		{`record.s.indexOf(record.p) == -1`, `{"s":"` + long + `","p":"` + long[:150_000] + `b"}`, yes},
		{`record.s.lastIndexOf(record.p) == -1`, `{"s":"` + long + `","p":"b` + long[:150_000] + `"}`, yes},
		{`record.s.replace("a", record.s) == ""`, `{"s":"` + long + `"}`, fail},
		{`record.l.join(record.s) == ""`, `{"s":"` + long + `","l":["` + strings.Repeat(`","`, 100_000) + `"]}`, fail},
		{`record.distinct().size() == 200000`, "[" + many + "]", yes},
		{`record.distinct().size() == 0`, "[[" + strings.ReplaceAll(many, ",", "],[") + "]]", fail},
		{`lists.range(record).size() > 0`, `9000000000`, fail},
		{`record.s.matches(record.p)`, `{"s":"` + long + `","p":"` + long + `"}`, fail},
		{`record.s.matches(record.p)`, `{"s":"` + long + `","p":"((a{10}){10}){1000}"}`, fail},
		{`record.s.matches(record.p)`, `{"s":"` + long + `","p":"(x*a*y*){900}b"}`, fail},
		{`record.s.matches(record.p)`, `{"s":"` + long + `","p":"^a+$"}`, yes},
		{`record.s.matches("^a+$")`, `{"s":"` + long + `"}`, yes},
		{`record.s.matches("a{1000}a{1000}$")`, `{"s":"` + long + `"}`, fail},
		{`record.flatten(1000000).size() == 200000`, strings.Repeat("[", 9000) + many + strings.Repeat("]", 9000), yes},
	} {
		if got := match(mustCompile(t, c.expr).Bind(nil), c.record, 1); got != c.want {
			t.Errorf("%s: got %s, want %s", c.expr, got, c.want)
		}
	}
}
