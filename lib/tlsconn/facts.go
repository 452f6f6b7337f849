package tlsconn

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"fmt"

	"sealpost/lib/maillog"
	"sealpost/lib/tlspolicy"
)

// Facts are what a handshake showed. The zero value is that of a connection
// without TLS.
type Facts struct {
	State tls.ConnectionState
	// Peer is what the peer's certificate proved: for a client under its policy,
	// for a server about a client.
	Peer tlspolicy.Peer
}

// Secure reports whether there was a handshake.
func (f *Facts) Secure() bool { return f.State.HandshakeComplete }

// Protocol is the version as logged: "TLSv1.3".
func (f *Facts) Protocol() string {
	for _, p := range protocols {
		if p.version == f.State.Version {
			return p.name
		}
	}
	return ""
}

// Cipher is the cipher suite's name in OpenSSL's words, with the bits of its key.
func (f *Facts) Cipher() (name string, bits int) { return cipherName(f.State.CipherSuite) }

// Leaf is the peer's certificate, or nil.
func (f *Facts) Leaf() *x509.Certificate {
	if len(f.State.PeerCertificates) == 0 {
		return nil
	}
	return f.State.PeerCertificates[0]
}

// Event is the line "... TLS connection established ..." (protocols.md §7.6).
// peer is "to HOST[ADDR]:PORT" or "from NAME[ADDR]".
func (f *Facts) Event(peer string, secured bool) *maillog.TLSConnection {
	name, bits := f.Cipher()
	e := &maillog.TLSConnection{
		Peer: peer, Protocol: f.Protocol(), Cipher: name, Bits: bits,
		Verb: "established", State: "Untrusted",
	}
	switch {
	case f.Leaf() == nil:
		e.State = "Anonymous"
	case secured:
		e.State = "Verified"
	case f.Peer.Trusted:
		e.State = "Trusted"
	}
	if f.State.Version == tls.VersionTLS13 {
		e.KeyExchange = exchange(f.State.CurveID)
	}
	return e
}

// exchange is a key exchange in OpenSSL's words, with the curve of ECDHE.
func exchange(id tls.CurveID) string {
	switch id {
	case 0:
		return ""
	case tls.X25519:
		return "X25519"
	case tls.CurveP256:
		return "ECDHE (prime256v1)"
	case tls.CurveP384:
		return "ECDHE (secp384r1)"
	case tls.CurveP521:
		return "ECDHE (secp521r1)"
	}
	return id.String()
}

// Signature is how the holder of a certificate signs in TLS 1.3, where its key
// leaves no choice: "ECDSA (prime256v1)", "RSA-PSS (2048 bits)", "Ed25519". The
// digest is not known to crypto/tls. Without a certificate it is "".
func Signature(cert *x509.Certificate) string {
	if cert == nil {
		return ""
	}
	switch k := cert.PublicKey.(type) {
	case *rsa.PublicKey:
		return fmt.Sprintf("RSA-PSS (%d bits)", k.N.BitLen())
	case *ecdsa.PublicKey:
		switch k.Curve.Params().Name {
		case "P-256":
			return "ECDSA (prime256v1)"
		case "P-384":
			return "ECDSA (secp384r1)"
		case "P-521":
			return "ECDSA (secp521r1)"
		}
		return "ECDSA"
	case ed25519.PublicKey:
		return "Ed25519"
	}
	return ""
}
