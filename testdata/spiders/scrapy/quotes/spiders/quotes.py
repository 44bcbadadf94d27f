from pathlib import Path

import scrapy

PAGES = Path(__file__).parents[2] / 'pages'


class QuotesSpider(scrapy.Spider):
    """Crawls two pages that come with it, so that it needs no network."""

    name = 'quotes'
    start_urls = [(PAGES / '1.html').as_uri()]

    def parse(self, response):
        for quote in response.css('.quote'):
            yield {
                'text': quote.css('.text::text').get(),
                'author': quote.css('.author::text').get(),
            }
        for link in response.css('a.next'):
            yield response.follow(link, self.parse)
