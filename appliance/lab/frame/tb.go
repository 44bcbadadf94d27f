package frame

// TB is the part of testing.TB that the lab needs. testing.TB has it all; a command can
// bring its own.
type TB interface {
	Helper()
	Name() string
	Logf(format string, args ...any)
	Fatalf(format string, args ...any)
	Failed() bool
	Cleanup(func())
}
