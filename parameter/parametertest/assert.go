package parametertest

import (
	"cmp"
	"fmt"
	"reflect"
	"slices"
	"strings"
)

// asserter are the checks of the cases, in the spelling of testify, which a suite that hosts import does not pull in. Each ends the case when it does not hold.
type asserter struct{}

var check asserter

func failed(t T, why []any, format string, args ...any) {
	t.Helper()
	text := fmt.Sprintf(format, args...)
	if len(why) > 0 {
		if f, ok := why[0].(string); ok {
			text += ": " + fmt.Sprintf(f, why[1:]...)
		} else {
			text += ": " + fmt.Sprint(why...)
		}
	}
	t.Errorf("%s", text)
	t.FailNow()
}

func size(x any) int {
	v := reflect.ValueOf(x)
	switch v.Kind() {
	case reflect.Array, reflect.Chan, reflect.Map, reflect.Slice, reflect.String:
		return v.Len()
	}
	return -1
}

func (asserter) Equal(t T, want, got any, why ...any) {
	t.Helper()
	if !reflect.DeepEqual(want, got) {
		failed(t, why, "want %#v, got %#v", want, got)
	}
}

func (asserter) NotEqual(t T, not, got any, why ...any) {
	t.Helper()
	if reflect.DeepEqual(not, got) {
		failed(t, why, "got %#v, which it must not be", got)
	}
}

func (asserter) EqualValues(t T, want, got any, why ...any) {
	t.Helper()
	w, g := reflect.ValueOf(want), reflect.ValueOf(got)
	if w.IsValid() && g.IsValid() && w.CanConvert(g.Type()) {
		want = w.Convert(g.Type()).Interface()
	}
	if !reflect.DeepEqual(want, got) {
		failed(t, why, "want %v, got %v", want, got)
	}
}

func (asserter) NoError(t T, err error, why ...any) {
	t.Helper()
	if err != nil {
		failed(t, why, "unexpected error: %v", err)
	}
}

func (asserter) Error(t T, err error, why ...any) {
	t.Helper()
	if err == nil {
		failed(t, why, "an error is missing")
	}
}

func (asserter) True(t T, ok bool, why ...any) {
	t.Helper()
	if !ok {
		failed(t, why, "it does not hold")
	}
}

func (asserter) Empty(t T, x any, why ...any) {
	t.Helper()
	if v := reflect.ValueOf(x); v.IsValid() && !v.IsZero() && size(x) != 0 {
		failed(t, why, "want nothing, got %#v", x)
	}
}

func (asserter) NotEmpty(t T, x any, why ...any) {
	t.Helper()
	if v := reflect.ValueOf(x); !v.IsValid() || v.IsZero() || size(x) == 0 {
		failed(t, why, "want something, got nothing")
	}
}

func (asserter) Len(t T, x any, n int, why ...any) {
	t.Helper()
	if size(x) != n {
		failed(t, why, "want %d elements, got %#v", n, x)
	}
}

func has(in, x any) bool {
	if s, ok := in.(string); ok {
		return strings.Contains(s, fmt.Sprint(x))
	}
	v := reflect.ValueOf(in)
	if v.Kind() == reflect.Map {
		return v.MapIndex(reflect.ValueOf(x)).IsValid()
	}
	for i := range v.Len() {
		if reflect.DeepEqual(v.Index(i).Interface(), x) {
			return true
		}
	}
	return false
}

func (asserter) Contains(t T, in, x any, why ...any) {
	t.Helper()
	if !has(in, x) {
		failed(t, why, "%#v is not in %#v", x, in)
	}
}

func (asserter) NotContains(t T, in, x any, why ...any) {
	t.Helper()
	if has(in, x) {
		failed(t, why, "%#v is in %#v", x, in)
	}
}

func (asserter) ElementsMatch(t T, want, got any, why ...any) {
	t.Helper()
	texts := func(x any) (out []string) {
		v := reflect.ValueOf(x)
		if !v.IsValid() {
			return nil
		}
		for i := range v.Len() {
			out = append(out, fmt.Sprintf("%#v", v.Index(i).Interface()))
		}
		slices.Sort(out)
		return out
	}
	if w, g := texts(want), texts(got); !slices.Equal(w, g) {
		failed(t, why, "want the elements %v, got %v", w, g)
	}
}

func (asserter) LessOrEqual(t T, a, b int, why ...any) {
	t.Helper()
	if cmp.Compare(a, b) > 0 {
		failed(t, why, "%d is more than %d", a, b)
	}
}
