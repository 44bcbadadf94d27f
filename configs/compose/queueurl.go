package compose

// QueueVariable names the cluster's queue in a definition, as ${CRAWLBOX_QUEUE_URL}.
const QueueVariable = "CRAWLBOX_QUEUE_URL"

// QueuePlaceholder stands in an environment for the URL of the queue. Who reads the file
// need not know the password, and another password makes no other definition: the URL
// takes its place when the service is deployed.
const QueuePlaceholder = "{crawlbox:queue-url}"
