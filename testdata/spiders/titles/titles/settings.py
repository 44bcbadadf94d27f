import os

BOT_NAME = 'titles'
SPIDER_MODULES = ['titles.spiders']
ITEM_PIPELINES = {'titles.pipelines.Lines': 300}
LOG_LEVEL = 'INFO'
TELNETCONSOLE_ENABLED = False  # it would listen on the host's own network

REDIS_URL = os.environ['REDIS_URL']  # which crawlbox gives
SCHEDULER = 'scrapy_redis.scheduler.Scheduler'
DUPEFILTER_CLASS = 'scrapy_redis.dupefilter.RFPDupeFilter'
SCHEDULER_PERSIST = True  # a replica that is done leaves the requests of the others alone
MAX_IDLE_TIME_BEFORE_CLOSE = 15  # seconds without work; then it is done
