// Package api is the local API of a node: HTTP and JSON over the unix socket
// that the command line speaks to. It has an Area for each subject: an interface of who answers, the wire
// types, the methods of the Client and the paths. The Handler serves areas, wherever
// they come from.
//
// Reads answer one JSON value. What takes time (scale, update, remove, logs)
// answers a stream of JSON values, one a line, and an error after the first
// value arrives as a value too: see progressLine. An error before it is an Error with
// its HTTP status. The client may go away at any time; what it had started
// goes on where Swarm has it already, and nothing is taken back.
package api
