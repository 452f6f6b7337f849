package dns

import (
	"context"
	"fmt"
	"strings"

	"github.com/miekg/dns"
)

// ProbeError says why DNSSEC validation may be unavailable. Its text is what
// Postfix logs as the reason.
type ProbeError struct {
	Probe string
	Cause error // why there was no response; nil: it was not validated
}

func (e *ProbeError) Error() string {
	text := "dnssec_probe '" + e.Probe + "' received "
	if e.Cause == nil {
		return text + "a response that is not DNSSEC validated"
	}
	return text + "no response: " + e.Cause.Error()
}

// Unwrap gives why there was no response.
func (e *ProbeError) Unwrap() error { return e.Cause }

// ParseProbe reads a value of dnssec_probe: "type:name", or only a name for type
// NS. The root is ".".
func ParseProbe(probe string) (name string, qtype uint16, err error) {
	kind, name, typed := strings.Cut(probe, ":")
	if !typed {
		kind, name = "ns", probe
	}
	qtype, known := dns.StringToType[strings.ToUpper(kind)]
	if !known || name != "." && !ValidHostname(name) {
		return "", 0, fmt.Errorf("%q: want type:name, such as \"ns:.\"", probe)
	}
	return canonical(name), qtype, nil
}

// Probe implements SecureResolver. A negative answer that is validated is as good
// as a positive one.
func (r *resolver) Probe(ctx context.Context, probe string) error {
	if probe == "" {
		return nil
	}
	name, qtype, err := ParseProbe(probe)
	if err != nil {
		return fmt.Errorf("dnssec_probe: %w", err)
	}
	a, err := r.step(ctx, name, qtype)
	if err != nil {
		return &ProbeError{Probe: probe, Cause: err}
	}
	if !a.authentic || !r.client.authentic {
		return &ProbeError{Probe: probe}
	}
	return nil
}
