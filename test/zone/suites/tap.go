// Package tap is the part of the Test Anything Protocol that the validation programs call, for Debian
// has no package of the one that they were written with.
package tap

import (
	"encoding/json"
	"fmt"
	"strings"
)

// T counts and prints.
type T struct {
	count *int
	todo  string
}

// New is a T that has printed nothing yet.
func New() *T { return &T{count: new(int)} }

// Todo is the same T, of tests that may fail.
func (t *T) Todo() *T { return &T{count: t.count, todo: " # TODO"} }

// Header begins the output; a plan of 0 tests is left to AutoPlan.
func (t *T) Header(plan int) {
	fmt.Println("TAP version 13")
	if plan > 0 {
		fmt.Printf("1..%d\n", plan)
	}
}

// Ok is one test.
func (t *T) Ok(passed bool, text string) {
	*t.count++
	word := "ok"
	if !passed {
		word = "not ok"
	}
	fmt.Printf("%s %d - %s%s\n", word, *t.count, text, t.todo)
}

// Pass is a test that passed.
func (t *T) Pass(text string) { t.Ok(true, text) }

// Fail is a test that did not.
func (t *T) Fail(text string) { t.Ok(false, text) }

// Skip is count tests that were not made.
func (t *T) Skip(count int, why string) {
	for ; count > 0; count-- {
		*t.count++
		fmt.Printf("ok %d # SKIP %s\n", *t.count, why)
	}
}

// Diagnostic is a comment.
func (t *T) Diagnostic(text string) {
	fmt.Println("# " + strings.ReplaceAll(text, "\n", "\n# "))
}

// Diagnosticf is a comment made by a format.
func (t *T) Diagnosticf(format string, a ...interface{}) { t.Diagnostic(fmt.Sprintf(format, a...)) }

// YAML tells more of the last test; JSON is YAML.
func (t *T) YAML(v interface{}) error {
	b, err := json.MarshalIndent(v, "  ", "  ")
	if err == nil {
		fmt.Printf("  ---\n  %s\n  ...\n", b)
	}
	return err
}

// AutoPlan says last how many there were.
func (t *T) AutoPlan() { fmt.Printf("1..%d\n", *t.count) }
