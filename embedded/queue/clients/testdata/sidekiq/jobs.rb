# A job for Sidekiq that is planned for later. Run as a program, it asks for it.
require "sidekiq"

Sidekiq.options[:poll_interval_average] = 1 # seconds between two looks for planned jobs, not up to 15

class Crawl
  include Sidekiq::Worker

  def perform(url)
    puts "ran #{url}"
    $stdout.flush
  end
end

Crawl.perform_in(0.1, "http://host/") if $PROGRAM_NAME == __FILE__
