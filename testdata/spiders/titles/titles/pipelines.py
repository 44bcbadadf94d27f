import json


class Lines:
    """Writes each item as a line of JSON, which `crawlbox logs` shows."""

    def process_item(self, item, spider):
        print(json.dumps(item), flush=True)
        return item
