package keeper

// Waiting returns how many clients wait for items of a key.
func (k *Keeper) Waiting(db int, key string) int {
	k.bells.mu.Lock()
	defer k.bells.mu.Unlock()
	return len(k.bells.waiting[channelOf(db, key)])
}

// Remembered returns how many holders, and keys that somebody waits for, the keeper knows.
func (k *Keeper) Remembered() (holders, keys int) {
	k.mu.Lock()
	holders = len(k.holders) + len(k.alive)
	k.mu.Unlock()
	k.bells.mu.Lock()
	defer k.bells.mu.Unlock()
	return holders, len(k.bells.waiting)
}

// OtherMachine returns the address of the machine that a connection comes from, where it is another.
var OtherMachine = otherMachine
