from scrapy_redis.spiders import RedisSpider


class TitlesSpider(RedisSpider):
    name = 'titles'
    redis_key = 'titles:urls'

    def parse(self, response):
        yield {'url': response.url, 'title': response.css('title::text').get()}
        yield from response.follow_all(css='a.next')
