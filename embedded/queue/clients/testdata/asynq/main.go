// Asynq asks for a task and runs it. Arguments: the server's address, the password. With a third one it asks for so many
// numbered ones, or does them where that is 0, and writes down which are begun and done in the file RECORD.
package main

import (
	"context"
	"fmt"
	"log"
	"math/rand/v2"
	"os"
	"strconv"
	"time"

	"github.com/hibiken/asynq"
)

func main() {
	server := asynq.RedisClientOpt{Addr: os.Args[1], Password: os.Args[2]}
	if len(os.Args) > 3 {
		n, err := strconv.Atoi(os.Args[3])
		if err == nil {
			err = numbered(server, n)
		}
		if err != nil {
			log.Fatal(err)
		}
		return
	}
	client := asynq.NewClient(server)
	defer client.Close()
	if _, err := client.Enqueue(asynq.NewTask("crawl", nil)); err != nil {
		log.Println("enqueue:", err)
	}
	worker := asynq.NewServer(server, asynq.Config{Concurrency: 1})
	err := worker.Run(asynq.HandlerFunc(func(_ context.Context, task *asynq.Task) error {
		fmt.Println("ran", task.Type())
		return nil
	}))
	if err != nil {
		log.Fatal(err)
	}
}

func numbered(server asynq.RedisClientOpt, n int) error {
	if n == 0 {
		record, err := os.OpenFile(os.Getenv("RECORD"), os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o644)
		if err != nil {
			return err
		}
		slower, err := strconv.Atoi(os.Getenv("SLOWER"))
		if err != nil {
			slower = 1
		}
		worker := asynq.NewServer(server, asynq.Config{
			Concurrency: 4,
			// By default it waits longer each time: for minutes soon.
			RetryDelayFunc: func(int, error, *asynq.Task) time.Duration { return time.Second },
		})
		return worker.Run(asynq.HandlerFunc(func(_ context.Context, task *asynq.Task) error {
			fmt.Fprintf(record, "begun %s\n", task.Payload())
			time.Sleep(time.Duration(slower*(5+rand.IntN(45))) * time.Millisecond)
			fmt.Fprintf(record, "done %s\n", task.Payload())
			return nil
		}))
	}
	client := asynq.NewClient(server)
	defer client.Close()
	for i := range n {
		task := asynq.NewTask("crawl", fmt.Appendf(nil, "item-%d", i), asynq.MaxRetry(1000))
		if _, err := client.Enqueue(task); err != nil {
			return err
		}
	}
	return nil
}
