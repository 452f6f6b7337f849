package maillog

import "strconv"

// TLSConnection is a handshake that was made, or a connection that is used again
// (protocols.md §7.6). The parts after the cipher are those of TLS 1.3 and left
// out where they are not known.
type TLSConnection struct {
	State string // Anonymous, Untrusted, Trusted, Verified
	Verb  string // established, reused
	Peer  string // "to HOST[ADDR]:PORT" or "from NAME[ADDR]"
	SNI   string // the name that a client asked for, for which there was a certificate

	Protocol, Cipher string
	Bits             int

	KeyExchange, ServerSignature, ClientSignature string
}

// Name implements Event.
func (e *TLSConnection) Name() string { return "tls_connection" }

// AppendText implements Event.
func (e *TLSConnection) AppendText(b []byte) []byte {
	b = append(b, e.State...)
	b = append(b, " TLS connection "...)
	b = append(b, e.Verb...)
	b = append(b, ' ')
	b = append(b, e.Peer...)
	if e.SNI != "" {
		b = append(b, " to "...)
		b = append(b, e.SNI...)
	}
	b = append(b, ": "...)
	return e.AppendDetails(b)
}

// AppendDetails appends what follows the peer; the Received header has it too.
func (e *TLSConnection) AppendDetails(b []byte) []byte {
	b = append(b, e.Protocol...)
	b = append(b, " with cipher "...)
	b = append(b, e.Cipher...)
	b = append(b, " ("...)
	b = strconv.AppendInt(b, int64(e.Bits), 10)
	b = append(b, '/')
	b = strconv.AppendInt(b, int64(e.Bits), 10)
	b = append(b, " bits)"...)
	for _, part := range []struct{ name, value string }{
		{" key-exchange ", e.KeyExchange}, {" server-signature ", e.ServerSignature}, {" client-signature ", e.ClientSignature},
	} {
		if part.value != "" {
			b = append(b, part.name...)
			b = append(b, part.value...)
		}
	}
	return b
}

// Fields implements Event.
func (e *TLSConnection) Fields() []Field {
	return []Field{{"state", e.State}, {"verb", e.Verb}, {"peer", e.Peer}, {"sni", e.SNI}, {"protocol", e.Protocol},
		{"cipher", e.Cipher}, {"bits", e.Bits}, {"key_exchange", e.KeyExchange},
		{"server_signature", e.ServerSignature}, {"client_signature", e.ClientSignature}}
}

// TLSAbort is a client that smtpd goes on with in no case (§7.2).
type TLSAbort struct{ Client, Reason string }

// Name implements Event.
func (e *TLSAbort) Name() string { return "tls_abort" }

// AppendText implements Event.
func (e *TLSAbort) AppendText(b []byte) []byte {
	b = append(b, "NOQUEUE: abort: TLS from "...)
	b = append(b, e.Client...)
	b = append(b, ": "...)
	return append(b, e.Reason...)
}

// Fields implements Event.
func (e *TLSAbort) Fields() []Field { return []Field{{"client", e.Client}, {"reason", e.Reason}} }
