"""A spider of scrapy-redis. What it fetches, num://host/ITEM, takes some time and is there always."""
import record
from scrapy.http import TextResponse
from scrapy_redis.spiders import RedisSpider
from twisted.internet import reactor, task


class Download:
    lazy = False

    @classmethod
    def from_crawler(cls, crawler):
        return cls()

    def download_request(self, request, spider):
        record.begin(request.url.rsplit("/", 1)[1])
        return task.deferLater(reactor, record.takes(), lambda: TextResponse(request.url, body=b"", request=request))

    def close(self):
        pass


class Numbers(RedisSpider):
    name = "numbers"
    redis_key = "%(name)s:urls"
    custom_settings = {
        "DOWNLOAD_HANDLERS": {"num": Download},
        "SCHEDULER": "scrapy_redis.scheduler.Scheduler",
        "DUPEFILTER_CLASS": "scrapy_redis.dupefilter.RFPDupeFilter",
        "SCHEDULER_PERSIST": True,
        "TELNETCONSOLE_ENABLED": False,
        "LOG_LEVEL": "ERROR",
    }

    def parse(self, response):
        record.end(response.url.rsplit("/", 1)[1])
