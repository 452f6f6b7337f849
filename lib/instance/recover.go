package instance

import (
	"time"

	"sealpost/lib/config"
	"sealpost/lib/maillog"
	"sealpost/lib/queue"
	"sealpost/lib/queue/repair"
)

// Recover tidies up what crashes, restores and changed parameters left in the
// queue (security-cases.md §1.2), as "postsuper -p -s" does. live says that
// daemons may be running. It logs what it did.
func Recover(c *config.Config, s Settings, now time.Time, live bool, log *maillog.Logger) error {
	ids, err := LookupIDs(s)
	if err != nil {
		return err
	}
	_, err = Repair(c, s, ids, repair.Job{Structure: true, Purge: true, Live: live, Now: now}, log)
	return err
}

// Repair does a job on the queue as its owner and logs what it did. It returns how
// many messages have a new name.
func Repair(c *config.Config, s Settings, ids IDs, job repair.Job, log *maillog.Logger) (renamed int, err error) {
	var qs queue.Settings
	if err := c.Decode(&qs); err != nil {
		return 0, err
	}
	err = AsOwnerLogging(ids, log, func(say func(func(*maillog.Logger))) (err error) {
		job.Report = func(sev maillog.Severity, text string) { say(func(l *maillog.Logger) { l.Text(sev, text) }) }
		renamed, err = repair.Run(s.QueueDir, qs, job)
		return err
	})
	if renamed > 0 {
		log.Log(maillog.Info, &maillog.QueueSummary{Action: "Renamed to match inode number", Messages: renamed})
		log.Warnf("QUEUE FILE NAMES WERE CHANGED TO MATCH INODE NUMBERS")
	}
	return renamed, err
}
