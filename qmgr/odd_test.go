package main

import (
	"os"
	"path/filepath"
	"testing"
	"time"
)

// TestOddFilesInTheActiveQueue: what cannot be a message, or cannot be moved,
// keeps neither qmgr from starting nor other mail from being delivered.
func TestOddFilesInTheActiveQueue(t *testing.T) {
	inBubble(t, func(s *system) {
		const sound, stuck = "AAAAA1", "AAAAA2"
		s.put("active", sound, mail{rcpts: []string{"a@x.test"}})
		s.put("active", stuck, mail{rcpts: []string{"b@x.test"}})
		// The name is taken in the incoming queue: the file cannot go there.
		if err := os.Mkdir(filepath.Join(s.dir, "incoming", stuck), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink("/etc/passwd", filepath.Join(s.dir, "active", "AAAAA3")); err != nil {
			t.Fatal(err)
		}
		s.start()
		s.pass(time.Minute)
		if s.exists("active", sound) || s.exists("incoming", sound) {
			t.Error("a sound message was not delivered")
		}
		if !s.exists("active", stuck) {
			t.Error("the message that cannot be moved is gone")
		}
		if err := os.Remove(filepath.Join(s.dir, "incoming", stuck)); err != nil {
			t.Fatal(err)
		}
		s.pass(s.set.QueueRunDelay + time.Minute)
		if s.exists("active", stuck) || s.exists("incoming", stuck) {
			t.Error("a message was forgotten in the active queue")
		}
	})
}

// exists tells whether a file is in a queue.
func (s *system) exists(name, id string) bool {
	_, err := os.Lstat(s.queue.Path(name, id))
	return err == nil
}
