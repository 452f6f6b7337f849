package mailproto

import "sealpost/lib/attr"

// Requests of the fast flush service (§2.11).
const (
	FlushAdd      = "add"       // a message for a site was deferred
	FlushSendSite = "send_site" // deliver a site's mail now
	FlushSendFile = "send_file" // deliver one message now
	FlushRefresh  = "rfrsh"
	FlushPurge    = "purge"
)

// Statuses of its reply.
const (
	FlushFail = -1
	FlushOK   = 0
	FlushBad  = 3
	FlushDeny = 4 // the site is not in fast_flush_domains
)

// FlushRequest is a request to flush, answered with a StatusReply.
type FlushRequest struct {
	Request string
	Site    string // with FlushAdd and FlushSendSite
	QueueID string // with FlushAdd and FlushSendFile
}

// Append encodes the request.
func (f FlushRequest) Append(e *attr.Encoder) {
	e.Str("request", f.Request)
	if f.Request == FlushAdd || f.Request == FlushSendSite {
		e.Str("site", f.Site)
	}
	if f.Request == FlushAdd || f.Request == FlushSendFile {
		e.Str("queue_id", f.QueueID)
	}
	e.End()
}

// ReadFlushRequest reads a request; an unknown one has no further attributes.
func ReadFlushRequest(d *attr.Decoder) (FlushRequest, error) {
	f := FlushRequest{Request: d.Str("request")}
	if f.Request == FlushAdd || f.Request == FlushSendSite {
		f.Site = d.Str("site")
	}
	if f.Request == FlushAdd || f.Request == FlushSendFile {
		f.QueueID = d.Str("queue_id")
	}
	return f, d.End()
}
