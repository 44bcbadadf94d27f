package state

// Pending returns how many updates wait for the one that is written.
func (v *Value[T]) Pending() int {
	v.pendingMu.Lock()
	defer v.pendingMu.Unlock()
	return len(v.pending)
}
