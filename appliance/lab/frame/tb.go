package frame

// TB is what the lab needs of a test. testing.TB has it all; a command can
// bring its own.
type TB interface {
	Helper()
	Name() string
	Logf(format string, args ...any)
	Fatalf(format string, args ...any)
	Failed() bool
	Cleanup(func())
}
