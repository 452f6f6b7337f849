// Package tlsconn is the one place that touches crypto/tls: it turns parameters
// and policies into configurations, makes handshakes, and says what they showed.
//
// A Client makes handshakes with servers under a tlspolicy.Policy; a Server makes
// them with clients. Both give a connection and Facts. A fact that is missing is
// "not verified": no answer of this package is a guess.
//
// Certificates are checked after the handshake, by Facts.Peer, whatever the level:
// a certificate that proves nothing does not end the handshake, so that the caller
// can log it and decide by its policy.
//
// # What crypto/tls cannot do
//
// Parameters speak OpenSSL's language. ParseProtocols, ParseCiphers and
// ParseCurves translate it and return, beside the result, one sentence for each
// part that has no counterpart; the result is then the stricter one. Problems
// collects these sentences for "sealpost check" (decision 50). The cipher suites
// of TLS 1.3 and their order are fixed in crypto/tls; so is the order of all
// others.
package tlsconn
