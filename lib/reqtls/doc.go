// Package reqtls decides what becomes of a message whose sender asked for
// REQUIRETLS (RFC 8689; requiretls.md §6; decisions 1, 2, 7, 8, 10, 11, 16).
//
// A Policy (smtp_requiretls_policy) gives the enforcement level for a
// destination. Decide then holds what is known about a host against that level
// and against the TLS policy (lib/tlspolicy), at each stage of the connection; the
// caller goes on, leaves the host, or fails, as the Verdict says. Decide is a
// function of its arguments: it looks nothing up and remembers nothing, and a
// fact that is missing counts as not satisfied.
//
// Permits is the last question before MAIL FROM. It does not build on Decide.
package reqtls
