package queue

func runChild() {}
