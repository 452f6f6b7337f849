// Package tlspolicy decides how much TLS is needed for a host, and whether what a
// connection showed is enough (requiretls.md §6.3 to §6.5, §7; decisions 1, 2, 11).
//
// A Source holds the parameters and tables. Its Lookup turns a Site (destination,
// host, how far each look-up could be believed) into a Policy, a value:
//
//	level    from smtp_tls_policy_maps, else the legacy smtp_tls_per_site, else
//	         smtp_tls_security_level and its legacy forms
//	dane     TLSA records are looked up; without them, or without DNSSEC, the
//	         level changes, and Policy.Reason says why (RFC 7672 §2.2)
//	sts      the answer of a plug-in restricts the names of MX hosts (RFC 8461)
//
// An Error in the place of a Policy is temporary and means that the host is not
// connected to: a failed look-up never leads to less TLS.
//
// Policy.Verify compares a certificate chain with the policy; Policy.Decide turns
// facts about a connection into a Verdict. Both are functions of their arguments.
package tlspolicy
