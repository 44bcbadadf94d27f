// Package access decides who may read and write the registry over HTTP. It has
// two middlewares: Network for the TLS port on the manager's address, Local for
// the plain port on loopback.
//
// # The network
//
// A stranger gets 401 everywhere. The way in is distribution's token protocol
// (https://distribution.github.io/distribution/spec/auth/token/): the 401 names
// /token, and /token hands out a token that lives for minutes. A token goes to
//
//   - a client with the password of an account: reads and writes
//   - the Docker Engine of a node of the cluster, which has no credentials: what
//     Options.Peer gives it, reads as a rule
//
// and to nobody else. Scripts may also send user and password with each request.
//
// The challenge is Bearer, not Basic, for the sake of Docker: the same address
// serves the laptop that has to log in and the Swarm worker that pulls without
// credentials. To a Basic challenge an engine without credentials answers
// nothing at all and gives up ("no basic auth credentials"); to a Bearer one it
// asks the realm anonymously, and there it can be recognized.
//
// A Docker Engine that keeps its images in containerd, as new ones do from version 29
// on, cannot ask for tokens: it does so without the CA of certs.d
// (https://github.com/moby/moby/issues/52361). One of the cluster is recognized at
// each request, and one that has a login is asked for it by a Basic challenge. Such
// engines are told by their User-Agent, which gives no right.
//
// A token carries all rights that its holder has, whatever scope was asked for.
// A client that may only read and asks to push thus gets a token, and is refused
// at the first write with an error DENIED, whose text Docker shows to the user.
// An error at /token, or an insufficient_scope, would be shown as less.
//
// /token knows GET only. The POST form of the protocol is answered with 401, at
// which containerd and BuildKit turn to GET (they do so for JFrog's sake); the
// classic engine posts only refresh tokens, and here it is given none.
//
// A token says who holds it and is signed with a key that ends with the process.
// That of an account ends with the account's password, that of a node works from
// the node's address alone and ends when Options.Member no longer knows it.
// Nothing is deleted over the network; `crawlbox images rm` removes images.
//
// # Passwords
//
// Passwords are random, and bcrypt guards the file of hashes. What bcrypt costs
// must not become a lever for strangers: few comparisons run at a time, each
// address has a small budget of tries, and a right password is remembered for
// some minutes by a keyed hash. An unknown user costs as much as a wrong
// password.
//
// # Browsers
//
// Both middlewares refuse first of all what a browser sends for a page: a request
// with an Origin, with a Sec-Fetch-Site of another page, or for a host name that
// is not the registry's, which is how DNS rebinding looks.
package access
