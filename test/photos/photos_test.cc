// Copyright (c) 2026 The cwasi authors. SPDX-License-Identifier: Apache-2.0
//
// Each step of examples/photos against ImageMagick's, on three photographs, or on all of them with
// CWASI_PHOTOS=all; and that the comparison fails for a wrong step. compare_steps does the same to
// the files of a run.

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "examples/photos/jpeg.h"
#include "examples/photos/png.h"
#include "examples/photos/resample.h"
#include "examples/photos/sharpen.h"
#include "examples/photos/sheet.h"
#include "test/photos/reference.h"
#include "test/support/must.h"
#include "test/support/psnr.h"
#include "test/support/temp_dir.h"

namespace cwasi::test {
namespace {

namespace fs = std::filesystem;

const fs::path kPhotoFolder = "/usr/share/backgrounds";

std::vector<std::string> PhotoNames() {
  const char* which = std::getenv("CWASI_PHOTOS");  // NOLINT(concurrency-mt-unsafe): one thread
  if (which == nullptr || std::string(which) != "all")
    return {"Picture_1A_by_freespace", "life_by_Aitzol_Berasategi",
            "picosdeeuropa_by_Aitzol_Berasategi"};
  std::vector<std::string> names;
  for (const auto& entry : fs::directory_iterator(kPhotoFolder))
    if (entry.path().extension() == ".jpg") names.push_back(entry.path().stem());
  std::ranges::sort(names);
  return names;
}

// One image with its memory.
struct Value {
  std::vector<std::byte> bytes;
  photos::Image image;

  explicit Value(photos::Size size)
      : bytes(Must(photos::ImageBytes(size))), image(photos::StartImage(size, bytes)) {}
};

Picture ToPicture(const photos::Image& image) {
  return {image.size.width, image.size.height, {image.pixels.begin(), image.pixels.end()}};
}

// The steps as the guests do them.
Value Decode(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  const std::string text{std::istreambuf_iterator<char>(file), {}};
  const auto jpeg = std::as_bytes(std::span(text));
  Value value(Must(photos::JpegSize(jpeg)));
  value.bytes.resize(value.bytes.size() + photos::kJpegSlackBytes);
  value.image = Must(photos::DecodeJpeg(jpeg, value.image.size, value.bytes));
  value.bytes.resize(value.bytes.size() - photos::kJpegSlackBytes);
  return value;
}
Value Sharpen(const Value& in) {
  Value out(in.image.size);
  std::ranges::copy(in.image.pixels, out.image.pixels.begin());
  photos::Sharpen(out.image, {.radius = 2, .sigma = 1, .amount = 0.8});
  return out;
}
Value Resize(const photos::Image& in, photos::Size box, photos::Kernel kernel) {
  Value out(photos::Fit(in.size, box));
  photos::Resize(in, out.image, kernel);
  return out;
}

void Shift(Picture& picture) {
  for (std::size_t y = 0; y < picture.height; ++y) {
    const auto row = picture.rgb.begin() + static_cast<std::ptrdiff_t>(y * 3 * picture.width);
    std::copy_backward(row, row + 3 * (static_cast<std::ptrdiff_t>(picture.width) - 1),
                       row + 3 * static_cast<std::ptrdiff_t>(picture.width));
  }
}

void SwapRedAndBlue(Picture& picture) {
  for (std::size_t i = 0; i < picture.rgb.size(); i += 3)
    std::swap(picture.rgb[i], picture.rgb[i + 2]);
}

// A folder for one test's files.
class PhotosTest : public ::testing::Test {
 protected:
  std::string Write(const std::string& name, std::span<const std::byte> bytes) const {
    fs::path path = dir_.Path() / name;
    std::ofstream(path, std::ios::binary)
        .write(reinterpret_cast<const char*>(bytes.data()),
               static_cast<std::streamsize>(bytes.size()));
    return path;
  }

  static void ExpectAlike(const std::string& step, const photos::Image& ours,
                          const Result<Picture>& reference, double bar) {
    const auto psnr = Compare(step, ours, reference);
    EXPECT_TRUE(psnr && *psnr >= bar) << step << ": " << psnr.value_or(0) << " dB, bar " << bar;
  }
  static void ExpectUnlike(const std::string& what, const photos::Image& ours,
                           const Result<Picture>& other, double bar) {
    const auto psnr = Compare(what, ours, other);
    EXPECT_TRUE(psnr && *psnr < bar) << what << ": " << psnr.value_or(0) << " dB, bar " << bar;
  }
  // That the reference, moved by a pixel or with two channels swapped, is not like ours.
  static void ExpectUnlikeWhenDisturbed(const std::string& step, const photos::Image& ours,
                                        const Result<Picture>& reference) {
    ASSERT_TRUE(reference) << step << ": " << reference.error().message;
    Picture wrong = *reference;
    Shift(wrong);
    ExpectUnlike(step + "_shifted", ours, wrong, kBarDb);
    wrong = *reference;
    SwapRedAndBlue(wrong);
    ExpectUnlike(step + "_red_and_blue_swapped", ours, wrong, kBarDb);
  }

  TempDir dir_;

 private:
  static std::optional<double> Compare(const std::string& what, const photos::Image& ours,
                                       const Result<Picture>& other) {
    if (!other) {
      ADD_FAILURE() << what << ": " << other.error().message;
      return std::nullopt;
    }
    const Picture picture = ToPicture(ours);
    const auto psnr = Psnr(picture, *other);
    if (psnr)
      RecordProperty(what, std::to_string(*psnr));
    else
      ADD_FAILURE() << what << ": " << picture.width << "x" << picture.height << " is not "
                    << other->width << "x" << other->height;
    return psnr;
  }
};

// A photograph and what the steps make of it.
struct Steps {
  explicit Steps(const std::string& jpeg)
      : decoded(Decode(jpeg)),
        resized(Resize(decoded.image, {1600, 0}, photos::Kernel::kCatmullRom)),
        sharpened(Sharpen(resized)),
        thumb(Resize(sharpened.image, {320, 240}, photos::Kernel::kLanczos3)) {}

  Value decoded, resized, sharpened, thumb;
};

class PhotoTest : public PhotosTest, public ::testing::WithParamInterface<std::string> {
 protected:
  void SetUp() override {
    PhotosTest::SetUp();
    decoded_file_ = Write("decoded.ppm", steps_.decoded.bytes);
    resized_file_ = Write("resized.ppm", steps_.resized.bytes);
    sharpened_file_ = Write("sharpened.ppm", steps_.sharpened.bytes);
  }

  const std::string jpeg_ = kPhotoFolder / (GetParam() + ".jpg");
  const Steps steps_{jpeg_};
  std::string decoded_file_, resized_file_, sharpened_file_;
};

TEST_P(PhotoTest, EachStepIsImageMagicks) {
  ExpectAlike("decoded", steps_.decoded.image, ReferenceDecoded(jpeg_), kBarDb);
  ExpectAlike("resized", steps_.resized.image, ReferenceResized(decoded_file_), kStrictBarDb);
  ExpectAlike("sharpened", steps_.sharpened.image, ReferenceSharpened(resized_file_), kStrictBarDb);
  ExpectAlike("thumb", steps_.thumb.image, ReferenceThumbnail(sharpened_file_), kThumbnailBarDb);
  ExpectAlike("chain", steps_.thumb.image, ReferenceChain(jpeg_), kBarDb);
}

// Smooth ones included: that is what the stricter bar is for.
TEST_P(PhotoTest, OurBarTellsFiltersApartOnEveryPhotograph) {
  for (const char* filter : {"Mitchell", "Triangle", "Lanczos"})
    ExpectUnlike(std::string("resized_by_") + filter, steps_.resized.image,
                 ReferenceResized(decoded_file_, filter), kStrictBarDb);
  ExpectUnlike("sharpened_too_little", steps_.sharpened.image,
               ReferenceSharpened(resized_file_, "2x1+0.6+0"), kStrictBarDb);
}

std::string TestName(const ::testing::TestParamInfo<std::string>& photo) {
  std::string name = photo.param;
  std::ranges::replace(name, '-', '_');
  return name;
}
INSTANTIATE_TEST_SUITE_P(Photos, PhotoTest, ::testing::ValuesIn(PhotoNames()), TestName);

class WrongStepTest : public PhotoTest {};

TEST_P(WrongStepTest, FailsThePromisedBar) {
  for (const char* filter : {"Mitchell", "Triangle", "Lanczos"})
    ExpectUnlike(std::string("resized_by_") + filter, steps_.resized.image,
                 ReferenceResized(decoded_file_, filter), kBarDb);
  ExpectUnlike("sharpened_too_little", steps_.sharpened.image,
               ReferenceSharpened(resized_file_, "2x1+0.6+0"), kBarDb);
  ExpectUnlike("not_sharpened", steps_.sharpened.image, ReadPpm(resized_file_), kBarDb);
  for (const char* filter : {"Mitchell", "Triangle"})
    ExpectUnlike(std::string("thumb_by_") + filter, steps_.thumb.image,
                 ReferenceThumbnail(sharpened_file_, filter), kBarDb);
  ExpectUnlikeWhenDisturbed("decoded", steps_.decoded.image, ReferenceDecoded(jpeg_));
  ExpectUnlikeWhenDisturbed("resized", steps_.resized.image, ReferenceResized(decoded_file_));
  ExpectUnlikeWhenDisturbed("sharpened", steps_.sharpened.image, ReferenceSharpened(resized_file_));
  ExpectUnlikeWhenDisturbed("thumb", steps_.thumb.image, ReferenceThumbnail(sharpened_file_));
}

// Photographs with fine detail all over.
INSTANTIATE_TEST_SUITE_P(Photos, WrongStepTest,
                         ::testing::Values("life_by_Aitzol_Berasategi",
                                           "picosdeeuropa_by_Aitzol_Berasategi"),
                         TestName);

TEST_F(PhotosTest, TheSheetIsMontages) {
  const photos::SheetLayout layout{.columns = 5, .cell = {320, 240}, .margin = 8};
  const Value photo = Decode(kPhotoFolder / "Picture_1A_by_freespace.jpg");
  // Odd and even sizes, across and upright, more than one row.
  const std::vector<photos::Size> sizes{{320, 213}, {320, 240}, {160, 240}, {161, 240},
                                        {301, 239}, {320, 180}, {240, 240}};
  const auto count = static_cast<std::uint32_t>(sizes.size());
  const Value sheet(photos::SheetSize(layout, count));
  photos::ClearSheet(sheet.image);
  std::vector<std::string> files;
  for (std::uint32_t i = 0; i < count; ++i) {
    const Value thumb(sizes[i]);
    photos::Resize(photo.image, thumb.image, photos::Kernel::kLanczos3);
    files.push_back(Write(std::to_string(i) + ".ppm", thumb.bytes));
    ASSERT_TRUE(photos::Paste(layout, i, thumb.image, sheet.image));
  }
  ExpectAlike("sheet", sheet.image, ReferenceSheet(files), kStrictBarDb);
  ExpectUnlikeWhenDisturbed("sheet", sheet.image, ReferenceSheet(files));
  const auto wider = ReferenceSheet(files, "320x240>+9+9");
  ASSERT_TRUE(wider);
  EXPECT_FALSE(Psnr(ToPicture(sheet.image), *wider)) << "another margin is another size";
  std::swap(files[0], files[5]);
  ExpectUnlike("sheet_in_another_order", sheet.image, ReferenceSheet(files), kBarDb);

  const photos::Png png = photos::EncodePng(sheet.image);
  ExpectAlike("png", sheet.image, RunMagick("convert", {Write("sheet.png", png.Bytes())}), 1000);
}

TEST_F(PhotosTest, AFailedReferenceIsAnError) {
  EXPECT_EQ(RunMagick("no-such-program-of-imagemagick", {}).error().code, ErrorCode::kNotFound);
  EXPECT_EQ(RunMagick("false", {}).error().code, ErrorCode::kInternal);
}

}  // namespace
}  // namespace cwasi::test
