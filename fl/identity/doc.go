// Package identity is who a party is: its keys, the certificate that a
// federation gave it, the one-time token it enrolled with, and the TLS
// configurations that follow from them.
//
// Every party makes its keys itself and they never leave its folder: an
// Ed25519 key signs documents, an ECDSA P-256 key authenticates TLS
// connections. The first is the identity;
// the certificate is only the transport's proof of it, short-lived and renewed
// with a signed request.
//
// What it trusts: the digest of the certificate authority's public key, which
// arrives with the token and is pinned from then on. System roots are never
// consulted.
package identity
