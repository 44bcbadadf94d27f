// Asynq asks for a task and runs it. Arguments: the server's address, the password.
package main

import (
	"context"
	"fmt"
	"log"
	"os"

	"github.com/hibiken/asynq"
)

func main() {
	server := asynq.RedisClientOpt{Addr: os.Args[1], Password: os.Args[2]}
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
