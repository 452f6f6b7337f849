package reqtls

// Level is how far a sender's request is enforced for a destination. The numbers
// are Postfix's.
type Level int

// The levels.
const (
	Failed        Level = iota - 1 // the policy cannot be read: the message waits
	Disable                        // as if nobody had asked
	Opportunistic                  // REQUIRETLS where it is offered
	StartTLS                       // and TLS in any case
	Enforce                        // all that RFC 8689 demands, or the message returns
)

// levelNames are the words of a policy.
var levelNames = map[string]Level{
	"disable": Disable, "opportunistic": Opportunistic, "opportunistic+starttls": StartTLS,
	"enforce": Enforce, "error": Failed,
}

// String is the level as a policy has it.
func (l Level) String() string {
	for name, level := range levelNames {
		if level == l {
			return name
		}
	}
	return "unknown"
}

// Asked reports whether the request has any effect.
func (l Level) Asked() bool { return l > Disable }

// DemandsTLS reports whether the message must not travel in the clear.
func (l Level) DemandsTLS() bool { return l >= StartTLS }
