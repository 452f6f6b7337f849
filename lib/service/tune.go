package service

import (
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
)

// tune sets the garbage collector for a worker: its live heap is a few hundred
// kilobytes, so with Go's default a collection would run for every four megabytes
// of garbage. The heap may grow to heapRoom before the first; a worker with much
// live memory (thousands of sessions) is collected as usual, so that it does not
// take several times what it needs. GOGC in the environment wins.
func tune() {
	if os.Getenv("GOGC") == "" {
		adjustGC()
	}
}

// heapRoom is the heap size, in bytes, below which a collection is not worth it.
const heapRoom = 8 << 20

// gcPercent is the growth that lets a heap with the given live bytes reach
// heapRoom, but never less than Go's default.
func gcPercent(live uint64) int {
	const lowest, highest = 100, 1600
	if live >= heapRoom/2 {
		return lowest
	}
	return int(min((heapRoom-live)*100/max(live, 1), highest))
}

// adjustGC sets the growth by what is live now, and again after each collection:
// an object that nobody holds is finalized by every collection.
func adjustGC() {
	sample := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	metrics.Read(sample)
	debug.SetGCPercent(gcPercent(sample[0].Value.Uint64()))
	type marker struct{ _ [16]byte }
	runtime.SetFinalizer(new(marker), func(*marker) { adjustGC() })
}
