package main

import (
	"fmt"
	"go/ast"
	"go/token"
	"regexp"
	"strings"

	"github.com/golangci/misspell"
	"github.com/golangci/unconvert"
	"github.com/gordonklaus/ineffassign/pkg/ineffassign"
	"github.com/kisielk/errcheck/errcheck"
	"github.com/polyfloyd/go-errorlint/errorlint"
	"github.com/timakin/bodyclose/passes/bodyclose"
	"go-simpler.org/sloglint"
	"golang.org/x/tools/go/analysis"
	"golang.org/x/tools/go/analysis/suite/vet"
	"honnef.co/go/tools/lintcmd"
	"honnef.co/go/tools/simple"
	"honnef.co/go/tools/staticcheck"
	"honnef.co/go/tools/stylecheck"
	"honnef.co/go/tools/unused"
	"mvdan.cc/unparam/check"
)

// checks are those of staticcheck that count, and all others. ST1005 wants errors to
// begin in lower case, which names such as Docker don't; ST1000, one comment for each
// package, is tested in appliance/architecture_test.go.
const checks = "all,-ST1005,-ST1000"

// analyse runs all analysers over all packages and their tests, those too that need the tag before.
func analyse() (findings int, err error) {
	cmd := lintcmd.NewCommand("lint")
	cmd.ParseFlags([]string{"-checks", checks, "-tags", "before", "./..."})
	cmd.AddAnalyzers(simple.Analyzers...)
	cmd.AddAnalyzers(staticcheck.Analyzers...)
	cmd.AddAnalyzers(stylecheck.Analyzers...)
	cmd.AddAnalyzers(unused.Analyzer)
	for _, a := range vet.Suite {
		cmd.AddBareAnalyzers(ofThisModule(a))
	}
	cmd.AddBareAnalyzers(
		errorlint.NewAnalyzer(),
		ineffassign.Analyzer,
		ofThisModule(sloglint.New(nil)),
		conversions,
		outsideTests(spelling),
		outsideTests(bodyclose.Analyzer),
		outsideTests(unchecked(errcheck.Analyzer)),
	)
	return cmd.Execute(), nil
}

// unusedParameters finds parameters that no function needs, and results that nobody
// does. It is a program of its own over all packages, not an analyser.
func unusedParameters() (findings int, err error) {
	found, err := check.UnusedParams(false, false, false, "./...")
	for _, line := range found {
		fmt.Println(line, "(unparam)")
	}
	return len(found), err
}

// conversions reports conversions of a value to the type that it has.
var conversions = &analysis.Analyzer{
	Name: "unconvert",
	Doc:  "unnecessary conversions",
	Run: func(pass *analysis.Pass) (any, error) {
		files := map[string]*token.File{}
		pass.Fset.Iterate(func(f *token.File) bool {
			files[f.Name()] = f
			return true
		})
		for _, at := range unconvert.Run(pass) {
			if f := files[at.Filename]; f != nil {
				pass.Reportf(f.LineStart(at.Line)+token.Pos(at.Column-1), "unnecessary conversion")
			}
		}
		return nil, nil
	},
}

// spelling reports common misspellings in comments.
var spelling = &analysis.Analyzer{
	Name: "misspell",
	Doc:  "misspelled words in comments",
	Run: func(pass *analysis.Pass) (any, error) {
		words := misspell.New()
		for _, file := range pass.Files {
			for _, group := range file.Comments {
				for _, comment := range group.List {
					_, diffs := words.Replace(comment.Text)
					for _, d := range diffs {
						pass.Reportf(comment.Pos(), "%q is a misspelling of %q", d.Original, d.Corrected)
					}
				}
			}
		}
		return nil, nil
	},
}

// outsideTests is an analyser that leaves tests alone: they may leave to the test's
// end what they open, and misspell on purpose.
func outsideTests(a *analysis.Analyzer) *analysis.Analyzer {
	return filtered(a, func(pass *analysis.Pass, d analysis.Diagnostic) bool {
		return !strings.HasSuffix(pass.Fset.File(d.Pos).Name(), "_test.go")
	})
}

// harmless are the calls whose errors nobody looks at.
var harmless = regexp.MustCompile(
	`(^|\.)(Close|Flush|Remove|RemoveAll|Setenv|Unsetenv|F?[Pp]rint(f|ln)?)$|^(os\.)?Std(out|err)\.`)

// unchecked leaves out the errors of what only closes, removes or prints.
func unchecked(a *analysis.Analyzer) *analysis.Analyzer {
	return filtered(a, func(pass *analysis.Pass, d analysis.Diagnostic) bool {
		return !harmless.MatchString(calledAt(pass, d.Pos))
	})
}

// calledAt is the name of what is called by the outermost call at a position, which is
// its beginning or its parenthesis.
func calledAt(pass *analysis.Pass, pos token.Pos) (name string) {
	for _, file := range pass.Files {
		if pos < file.FileStart || pos > file.FileEnd {
			continue
		}
		ast.Inspect(file, func(n ast.Node) bool {
			if call, ok := n.(*ast.CallExpr); ok && name == "" && (call.Pos() == pos || call.Lparen == pos) {
				name = nameOf(call.Fun)
			}
			return name == ""
		})
	}
	return name
}

func nameOf(fn ast.Expr) string {
	switch fn := fn.(type) {
	case *ast.Ident:
		return fn.Name
	case *ast.SelectorExpr:
		return nameOf(fn.X) + "." + fn.Sel.Name
	}
	return ""
}

// filtered is an analyser of whose findings only those count for which keep is true.
func filtered(a *analysis.Analyzer, keep func(*analysis.Pass, analysis.Diagnostic) bool) *analysis.Analyzer {
	less := *a
	less.Run = func(pass *analysis.Pass) (any, error) {
		narrow := *pass
		narrow.Report = func(d analysis.Diagnostic) {
			if keep(pass, d) {
				pass.Report(d)
			}
		}
		return a.Run(&narrow)
	}
	return &less
}

// ofThisModule tells an analyser of which module the packages are, which lintcmd leaves out.
func ofThisModule(a *analysis.Analyzer) *analysis.Analyzer {
	told := *a
	told.Run = func(pass *analysis.Pass) (any, error) {
		within := *pass
		within.Module = &analysis.Module{Path: local}
		return a.Run(&within)
	}
	return &told
}
