// Package admission bounds what clients of the queue can take, before and after they show the password: who
// accepts Redis clients uses it, whether it answers them itself or passes on what they say.
//
//	Door       accepts clients, as many as there may be
//	Strangers  a client that does not log in makes room for the next one
//	Passwords  compares a password, and bounds how fast an address may guess it
//	Memory     what all clients leave waiting; who holds most of it is cut off
//
// It knows the commands AUTH and HELLO as far as they log a client in, and nothing else of what clients say.
package admission
