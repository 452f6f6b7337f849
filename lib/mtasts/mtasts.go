// Package mtasts has what the mail system knows about SMTP MTA Strict Transport
// Security (RFC 8461) without fetching policies itself: the attributes with which
// a plug-in answers a look-up in smtp_tls_policy_maps, and the patterns for names
// of MX hosts.
package mtasts

// Attributes are what a plug-in tells about the policy behind its answer.
type Attributes struct {
	Type       string   // policy_type: "sts" or "no-policy-found"
	Domain     string   // policy_domain
	MXPatterns []string // mx_host_pattern
	Strings    []string // policy_string: the policy's lines, for reports
	TTL        string   // policy_ttl, in seconds, for reports
	Failure    string   // policy_failure: why the policy cannot be kept
}
